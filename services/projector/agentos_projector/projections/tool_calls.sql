-- name: table
create table {table} (
    tool_call_id   text        primary key,
    workspace_id   text        not null,
    room_id        text,
    thread_id      text,
    run_id         text        not null,
    step_id        text        not null,
    tool_name      text        not null,
    title          text,
    status         text        not null,
    input          jsonb       not null,
    output         jsonb,
    error          jsonb,
    started_at     timestamptz not null,
    -- Where in the run's stream it was invoked: orders calls of one time.
    started_seq    bigint      not null,
    ended_at       timestamptz,
    updated_at     timestamptz not null,
    correlation_id text        not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/toolcalls, oldest first: of a workspace, a run, a step.
create index {table}_oldest on {table} (workspace_id, started_at, started_seq);
create index {table}_of_run on {table} (run_id, started_at, started_seq);
create index {table}_of_step on {table} (step_id, started_at, started_seq)

-- name: invoked
insert into {table} (
    tool_call_id, workspace_id, room_id, thread_id, run_id, step_id, tool_name, title, status, input, started_at,
    started_seq, updated_at, correlation_id, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.run_id, e.step_id, e.data ->> 'tool_name', e.data ->> 'title',
    'running', e.data -> 'input', e.recorded_at, e.stream_seq, e.recorded_at, e.correlation_id, e.entity_version,
    e.stream_seq, e.event_id
from {events}
where e.event_type = 'tool.invoked'

-- name: ended
-- A call ends once.
update {table} as t set
    status = case e.event_type when 'tool.succeeded' then 'succeeded' else 'failed' end,
    output = case when e.event_type = 'tool.succeeded' then coalesce(nullif(e.data -> 'output', 'null'), '{}') end,
    error = case
        when e.event_type = 'tool.succeeded' then null
        when e.data -> 'error' not in ('null', '{}') then e.data -> 'error'
        when e.data ->> 'message' is not null then jsonb_build_object('message', e.data -> 'message')
        else '{}'
    end,
    ended_at = e.recorded_at,
    updated_at = e.recorded_at,
    entity_version = e.entity_version,
    stream_seq = e.stream_seq,
    last_event_id = e.event_id
from {events}
where t.tool_call_id = e.entity_id and e.event_type in ('tool.succeeded', 'tool.failed')
