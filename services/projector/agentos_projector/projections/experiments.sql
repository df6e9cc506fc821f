-- name: table
create table {table} (
    experiment_id    text             primary key,
    workspace_id     text             not null,
    room_id          text,
    status           text             not null,
    title            text             not null,
    hypothesis       text             not null,
    success_criteria jsonb            not null,
    stop_conditions  jsonb            not null,
    budget_cap_units double precision not null,
    risk_tier        text             not null,
    metadata         jsonb            not null,
    closed_reason    text,
    created_by_type  text             not null,
    created_by_id    text             not null,
    created_at       timestamptz      not null,
    closed_at        timestamptz,
    updated_at       timestamptz      not null,
    correlation_id   text             not null,
    entity_version   int              not null,
    stream_seq       bigint           not null,
    last_event_id    uuid             not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/experiments: a workspace's, a room's, those of a status; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, experiment_id desc);
create index {table}_of_room on {table} (room_id, updated_at desc, experiment_id desc) where room_id is not null;
create index {table}_of_status on {table} (workspace_id, status, updated_at desc, experiment_id desc)

-- name: created
insert into {table} (
    experiment_id, workspace_id, room_id, status, title, hypothesis, success_criteria, stop_conditions, budget_cap_units,
    risk_tier, metadata, created_by_type, created_by_id, created_at, updated_at, correlation_id, entity_version,
    stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, 'open', e.data ->> 'title', e.data ->> 'hypothesis',
    e.data -> 'success_criteria', e.data -> 'stop_conditions', (e.data ->> 'budget_cap_units')::double precision,
    e.data ->> 'risk_tier', e.data -> 'metadata', e.actor_type, e.actor_id, e.recorded_at, e.recorded_at,
    e.correlation_id, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'experiment.created'

-- name: changed
-- An update carries the members that it changes, the others are null; a later one wins member by member.
update {table} as x set
    status = coalesce(c.status, x.status),
    title = coalesce(c.title, x.title),
    hypothesis = coalesce(c.hypothesis, x.hypothesis),
    success_criteria = coalesce(c.success_criteria, x.success_criteria),
    stop_conditions = coalesce(c.stop_conditions, x.stop_conditions),
    budget_cap_units = coalesce(c.budget_cap_units, x.budget_cap_units),
    risk_tier = coalesce(c.risk_tier, x.risk_tier),
    metadata = coalesce(c.metadata, x.metadata),
    closed_reason = coalesce(c.closed_reason, x.closed_reason),
    closed_at = coalesce(c.closed_at, x.closed_at),
    updated_at = c.updated_at,
    entity_version = c.entity_version,
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        e.entity_id,
        min(e.data ->> 'status') filter (where e.event_type = 'experiment.closed') as status,
        min(e.data ->> 'reason') filter (where e.event_type = 'experiment.closed') as closed_reason,
        min(e.recorded_at) filter (where e.event_type = 'experiment.closed') as closed_at,
        (array_agg(e.data ->> 'title' order by e.stream_seq desc) filter (where e.data ->> 'title' is not null))[1] as title,
        (array_agg(e.data ->> 'hypothesis' order by e.stream_seq desc)
            filter (where e.data ->> 'hypothesis' is not null))[1] as hypothesis,
        (array_agg(e.data -> 'success_criteria' order by e.stream_seq desc)
            filter (where e.data ->> 'success_criteria' is not null))[1] as success_criteria,
        (array_agg(e.data -> 'stop_conditions' order by e.stream_seq desc)
            filter (where e.data ->> 'stop_conditions' is not null))[1] as stop_conditions,
        (array_agg((e.data ->> 'budget_cap_units')::double precision order by e.stream_seq desc)
            filter (where e.data ->> 'budget_cap_units' is not null))[1] as budget_cap_units,
        (array_agg(e.data ->> 'risk_tier' order by e.stream_seq desc)
            filter (where e.data ->> 'risk_tier' is not null))[1] as risk_tier,
        (array_agg(e.data -> 'metadata' order by e.stream_seq desc)
            filter (where e.data ->> 'metadata' is not null))[1] as metadata,
        max(e.recorded_at) as updated_at,
        max(e.entity_version) as entity_version,
        max(e.stream_seq) as stream_seq,
        (array_agg(e.event_id order by e.stream_seq desc))[1] as last_event_id
    from {events}
    where e.event_type in ('experiment.updated', 'experiment.closed')
    group by e.entity_id
) c
where x.experiment_id = c.entity_id
