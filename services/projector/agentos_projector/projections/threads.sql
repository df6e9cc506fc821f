-- name: table
create table {table} (
    thread_id      text        not null,
    workspace_id   text        not null,
    room_id        text        not null,
    title          text        not null,
    status         text        not null,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
)

-- name: indexes
alter table {table} add primary key (thread_id);
-- GET /v1/rooms/{id}/threads: a room's threads, last changed first.
create index {table}_changed on {table} (room_id, updated_at desc, stream_seq desc)

-- name: created
insert into {table} (
    thread_id, workspace_id, room_id, title, status, created_at, updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.data ->> 'title', e.data ->> 'status',
    e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'thread.created'
