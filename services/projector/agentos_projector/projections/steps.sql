-- name: table
create table {table} (
    step_id        text        primary key,
    run_id         text        not null,
    workspace_id   text        not null,
    room_id        text,
    thread_id      text,
    kind           text        not null,
    status         text        not null,
    title          text,
    input          jsonb       not null,
    output         jsonb,
    error          jsonb,
    -- By step.completed or step.failed: no tool call moves it any more.
    ended          boolean     not null,
    created_at     timestamptz not null,
    -- Where in the run's stream it was created: orders steps of one time.
    created_seq    bigint      not null,
    updated_at     timestamptz not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/runs/{id}/steps: a run's steps, oldest first.
create index {table}_of_run on {table} (run_id, created_at, created_seq)

-- name: created
insert into {table} (
    step_id, run_id, workspace_id, room_id, thread_id, kind, status, title, input, ended, created_at, created_seq,
    updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.run_id, e.workspace_id, e.room_id, e.thread_id, e.data ->> 'kind', 'queued', e.data ->> 'title',
    e.data -> 'input', false, e.recorded_at, e.stream_seq, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'step.created'

-- name: changed
-- A step's own end decides, else the last event of a tool call in it.
update {table} as s set
    status = case
        when s.ended then s.status
        when c.event_type = 'tool.invoked' then 'running'
        when c.event_type in ('step.completed', 'tool.succeeded') then 'succeeded'
        else 'failed'
    end,
    output = case
        when s.ended then s.output
        when c.event_type in ('step.completed', 'tool.succeeded') then coalesce(nullif(c.data -> 'output', 'null'), '{}')
    end,
    error = case
        when s.ended then s.error
        when c.event_type not in ('step.failed', 'tool.failed') then null
        when c.data -> 'error' not in ('null', '{}') then c.data -> 'error'
        when c.data ->> 'message' is not null then jsonb_build_object('message', c.data -> 'message')
        else '{}'
    end,
    ended = s.ended or c.event_type in ('step.completed', 'step.failed'),
    updated_at = c.updated_at,
    entity_version = greatest(s.entity_version, c.entity_version),
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        e.step_id,
        (array_agg(e.event_type order by e.event_type in ('step.completed', 'step.failed') desc, e.stream_seq desc))[1] as event_type,
        (array_agg(e.data order by e.event_type in ('step.completed', 'step.failed') desc, e.stream_seq desc))[1] as data,
        (array_agg(e.recorded_at order by e.stream_seq desc))[1] as updated_at,
        max(e.entity_version) filter (where e.entity_type = 'step') as entity_version,
        max(e.stream_seq) as stream_seq,
        (array_agg(e.event_id order by e.stream_seq desc))[1] as last_event_id
    from {events}
    where e.event_type in ('step.completed', 'step.failed', 'tool.invoked', 'tool.succeeded', 'tool.failed')
    group by e.step_id
) c
where s.step_id = c.step_id
