-- name: table
create table {table} (
    evidence_id     text        not null,
    workspace_id    text        not null,
    run_id          text        not null,
    room_id         text,
    thread_id       text,
    correlation_id  text        not null,
    run_status      text        not null,
    manifest        jsonb       not null,
    manifest_hash   text        not null,
    event_hash_root text        not null,
    -- The window of the run's events.
    stream_type     text        not null,
    stream_id       text        not null,
    from_seq        bigint      not null,
    to_seq          bigint      not null,
    event_count     int         not null,
    finalized_at    timestamptz not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    entity_version  int         not null,
    stream_seq      bigint      not null,
    last_event_id   uuid        not null
)

-- name: indexes
alter table {table} add primary key (evidence_id);
create unique index {table}_of_run on {table} (run_id);
-- The pipeline: what was finalized last in a workspace.
create index {table}_newest on {table} (workspace_id, created_at desc)

-- name: created
insert into {table} (
    evidence_id, workspace_id, run_id, room_id, thread_id, correlation_id, run_status, manifest, manifest_hash,
    event_hash_root, stream_type, stream_id, from_seq, to_seq, event_count, finalized_at, created_at, updated_at,
    entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.run_id, e.room_id, e.thread_id, e.correlation_id, e.data ->> 'run_status',
    e.data -> 'manifest', e.data ->> 'manifest_hash', e.data ->> 'event_hash_root',
    e.stream_type, e.stream_id,
    (e.data #>> '{manifest,stream_window,from_seq}')::bigint, (e.data #>> '{manifest,stream_window,to_seq}')::bigint,
    (e.data #>> '{manifest,stream_window,event_count}')::int,
    e.recorded_at, e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'evidence.manifest.created'
