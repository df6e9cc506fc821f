-- name: table
create table {table} (
    learning_id     text        not null,
    incident_id     text        not null,
    workspace_id    text        not null,
    room_id         text,
    run_id          text,
    note            text        not null,
    tags            jsonb       not null,
    created_by_type text        not null,
    created_by_id   text        not null,
    created_at      timestamptz not null,
    stream_seq      bigint      not null,
    last_event_id   uuid        not null
)

-- name: indexes
alter table {table} add primary key (learning_id);
create index {table}_of_incident on {table} (incident_id, stream_seq)

-- name: logged
insert into {table} (
    learning_id, incident_id, workspace_id, room_id, run_id, note, tags, created_by_type, created_by_id, created_at,
    stream_seq, last_event_id
)
select
    e.data ->> 'learning_id', e.entity_id, e.workspace_id, e.room_id, e.run_id, e.data ->> 'note', e.data -> 'tags',
    e.actor_type, e.actor_id, e.recorded_at, e.stream_seq, e.event_id
from {events}
where e.event_type = 'incident.learning.logged'
