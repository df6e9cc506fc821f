-- name: table
create table {table} (
    artifact_id    text        not null,
    workspace_id   text        not null,
    room_id        text,
    thread_id      text,
    run_id         text        not null,
    step_id        text        not null,
    kind           text        not null,
    title          text,
    mime_type      text,
    size_bytes     bigint,
    sha256         text,
    content_type   text        not null,
    content_text   text,
    content_json   jsonb,
    content_uri    text,
    metadata       jsonb       not null,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    correlation_id text        not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
)

-- name: indexes
alter table {table} add primary key (artifact_id);
-- GET /v1/artifacts, oldest first: of a workspace, a run, a step, a room.
create index {table}_oldest on {table} (workspace_id, created_at, stream_seq);
create index {table}_of_run on {table} (run_id, created_at, stream_seq);
create index {table}_of_step on {table} (step_id, created_at, stream_seq);
create index {table}_of_room on {table} (room_id, created_at, stream_seq)

-- name: created
-- What is kept as a file is not in the event: then the URI tells where it is served.
insert into {table} (
    artifact_id, workspace_id, room_id, thread_id, run_id, step_id, kind, title, mime_type, size_bytes, sha256, content_type,
    content_text, content_json, content_uri, metadata, created_at, updated_at, correlation_id, entity_version, stream_seq,
    last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.run_id, e.step_id, e.data ->> 'kind', e.data ->> 'title',
    e.data ->> 'mime_type', (e.data ->> 'size_bytes')::bigint, e.data ->> 'sha256',
    coalesce(e.data #>> '{content,type}', 'none'), e.data #>> '{content,text}', e.data #> '{content,json}',
    case when e.data #>> '{content,blob}' = 'true' then '/v1/artifacts/' || e.entity_id || '/content'
        else e.data #>> '{content,uri}' end,
    e.data -> 'metadata', e.recorded_at, e.recorded_at, e.correlation_id, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'artifact.created'
