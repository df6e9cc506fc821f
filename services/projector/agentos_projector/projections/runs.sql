-- name: table
create table {table} (
    run_id              text        primary key,
    workspace_id        text        not null,
    room_id             text,
    thread_id           text,
    experiment_id       text,
    status              text        not null,
    title               text,
    goal                text,
    input               jsonb       not null,
    output              jsonb,
    error               jsonb,
    tags                jsonb       not null,
    max_attempts        int         not null,
    priority            int         not null,
    timeout_s           int,
    zone                text        not null,
    -- Of the last claim; 0 before the first one.
    attempt_no          int         not null,
    -- While a lease is held.
    claim_token         text,
    claimed_by_actor_id text,
    created_at          timestamptz not null,
    -- Where in its stream it was created: orders runs of one time.
    created_seq         bigint      not null,
    started_at          timestamptz,
    ended_at            timestamptz,
    -- When the holder of the last lease said that it stopped, as a kill switch asked.
    stop_acknowledged_at timestamptz,
    updated_at          timestamptz not null,
    correlation_id      text        not null,
    entity_version      int         not null,
    stream_seq          bigint      not null,
    last_event_id       uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/runs, last changed first: of a workspace, a room, an experiment. There are five statuses, so those of all of
-- them are a merge of five short scans, and no index without the status is needed.
create index {table}_changed on {table} (workspace_id, status, updated_at desc, stream_seq desc);
create index {table}_of_room on {table} (room_id, status, updated_at desc, stream_seq desc);
create index {table}_of_experiment on {table} (experiment_id, status, updated_at desc, stream_seq desc)
    where experiment_id is not null;
-- The pipeline: the newest run of an experiment.
create index {table}_newest_of_experiment on {table} (experiment_id, created_at desc, created_seq desc)
    where experiment_id is not null

-- name: created
insert into {table} (
    run_id, workspace_id, room_id, thread_id, experiment_id, status, title, goal, input, tags, max_attempts, priority,
    timeout_s, zone, attempt_no, created_at, created_seq, updated_at, correlation_id, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.data ->> 'experiment_id', 'queued', e.data ->> 'title',
    e.data ->> 'goal', e.data -> 'input', e.data -> 'tags', (e.data ->> 'max_attempts')::int,
    (e.data ->> 'priority')::int, (e.data ->> 'timeout_s')::int, e.zone, 0, e.recorded_at, e.stream_seq, e.recorded_at,
    e.correlation_id, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'run.created'

-- name: changed
-- One event at most ends a run. Before that, the last event that gave it to somebody or took it back decides.
update {table} as r set
    status = case
        when c.ended_by = 'run.completed' then 'succeeded'
        when c.ended_by = 'run.failed' then 'failed'
        when c.ended_by = 'run.cancelled' then 'cancelled'
        when c.given > coalesce(c.returned, 0) then 'running'
        when c.returned is not null then 'queued'
        else r.status
    end,
    output = case when c.ended_by = 'run.completed' then coalesce(nullif(c.ending -> 'output', 'null'), '{}') end,
    error = case
        when c.ended_by <> 'run.failed' then null
        when c.ending -> 'error' not in ('null', '{}') then c.ending -> 'error'
        when c.ending ->> 'message' is not null then jsonb_build_object('message', c.ending -> 'message')
        when c.ended_by = 'run.failed' then '{}'
    end,
    attempt_no = coalesce(c.attempt_no, r.attempt_no),
    claim_token = case
        when c.ended_by is not null or c.returned > coalesce(c.given, 0) then null
        else coalesce(c.claim_token, r.claim_token)
    end,
    claimed_by_actor_id = case
        when c.ended_by is not null or c.returned > coalesce(c.given, 0) then null
        else coalesce(c.claimed_by_actor_id, r.claimed_by_actor_id)
    end,
    started_at = coalesce(r.started_at, c.started_at),
    ended_at = c.ended_at,
    stop_acknowledged_at = case
        when c.claimed > coalesce(c.acknowledged, 0) then null else coalesce(c.acknowledged_at, r.stop_acknowledged_at)
    end,
    updated_at = c.updated_at,
    entity_version = c.entity_version,
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        e.entity_id,
        any_value(e.event_type) filter (where e.event_type in ('run.completed', 'run.failed', 'run.cancelled')) as ended_by,
        any_value(e.data) filter (where e.event_type in ('run.completed', 'run.failed', 'run.cancelled')) as ending,
        any_value(e.recorded_at) filter (where e.event_type in ('run.completed', 'run.failed', 'run.cancelled')) as ended_at,
        max(e.stream_seq) filter (where e.event_type in ('run.claimed', 'run.started')) as given,
        max(e.stream_seq) filter (where e.event_type in ('run.lease_released', 'run.lease_expired')) as returned,
        max((e.data ->> 'attempt_no')::int) filter (where e.event_type = 'run.claimed') as attempt_no,
        (array_agg(e.data ->> 'claim_token' order by e.stream_seq desc) filter (where e.event_type = 'run.claimed'))[1]
            as claim_token,
        (array_agg(e.data ->> 'claimed_by_actor_id' order by e.stream_seq desc) filter (where e.event_type = 'run.claimed'))[1]
            as claimed_by_actor_id,
        max(e.stream_seq) filter (where e.event_type = 'run.claimed') as claimed,
        max(e.stream_seq) filter (where e.event_type = 'run.stop_acknowledged') as acknowledged,
        max(e.recorded_at) filter (where e.event_type = 'run.stop_acknowledged') as acknowledged_at,
        min(e.recorded_at) filter (where e.event_type = 'run.started') as started_at,
        (array_agg(e.recorded_at order by e.stream_seq desc))[1] as updated_at,
        max(e.entity_version) as entity_version,
        max(e.stream_seq) as stream_seq,
        (array_agg(e.event_id order by e.stream_seq desc))[1] as last_event_id
    from {events}
    where e.event_type in (
        'run.claimed', 'run.started', 'run.lease_released', 'run.lease_expired', 'run.stop_acknowledged', 'run.completed',
        'run.failed', 'run.cancelled'
    )
    group by e.entity_id
) c
where r.run_id = c.entity_id
