-- name: table
create table {table} (
    incident_id          text        primary key,
    workspace_id         text        not null,
    room_id              text,
    thread_id            text,
    run_id               text,
    status               text        not null,
    title                text        not null,
    summary              text,
    severity             text        not null,
    category             text,
    entity_type          text,
    entity_id            text,
    details              jsonb       not null,
    rca                  jsonb       not null,
    rca_updated_at       timestamptz,
    learning_count       int         not null,
    acknowledged_at      timestamptz,
    acknowledged_by_type text,
    acknowledged_by_id   text,
    closed_reason        text,
    created_by_type      text        not null,
    created_by_id        text        not null,
    created_at           timestamptz not null,
    closed_at            timestamptz,
    updated_at           timestamptz not null,
    correlation_id       text        not null,
    entity_version       int         not null,
    stream_seq           bigint      not null,
    last_event_id        uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/incidents: a workspace's, a room's, those of a status; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, incident_id desc);
create index {table}_of_room on {table} (room_id, updated_at desc, incident_id desc) where room_id is not null;
create index {table}_of_status on {table} (workspace_id, status, updated_at desc, incident_id desc);
-- The pipeline: the incidents of a run.
create index {table}_of_run on {table} (run_id, updated_at desc) where run_id is not null

-- name: opened
insert into {table} (
    incident_id, workspace_id, room_id, thread_id, run_id, status, title, summary, severity, category,
    entity_type, entity_id, details, rca, learning_count, created_by_type, created_by_id,
    created_at, updated_at, correlation_id, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.run_id, 'open', e.data ->> 'title', e.data ->> 'summary',
    e.data ->> 'severity', e.data ->> 'category', e.data ->> 'entity_type', e.data ->> 'entity_id', e.data -> 'details',
    '{}'::jsonb, 0, e.actor_type, e.actor_id, e.recorded_at, e.recorded_at, e.correlation_id, e.entity_version, e.stream_seq,
    e.event_id
from {events}
where e.event_type = 'incident.opened'

-- name: changed
update {table} as i set
    status = case when c.closed_at is null then i.status else 'closed' end,
    rca = coalesce(c.rca, i.rca),
    rca_updated_at = coalesce(c.rca_updated_at, i.rca_updated_at),
    learning_count = i.learning_count + c.learnings,
    acknowledged_at = coalesce(i.acknowledged_at, c.acknowledged_at),
    acknowledged_by_type = coalesce(i.acknowledged_by_type, c.acknowledged_by_type),
    acknowledged_by_id = coalesce(i.acknowledged_by_id, c.acknowledged_by_id),
    closed_reason = coalesce(c.closed_reason, i.closed_reason),
    closed_at = coalesce(c.closed_at, i.closed_at),
    updated_at = c.updated_at,
    entity_version = c.entity_version,
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        e.entity_id,
        count(*) filter (where e.event_type = 'incident.learning.logged') as learnings,
        (array_agg(e.data -> 'rca' order by e.stream_seq desc) filter (where e.event_type = 'incident.rca.updated'))[1] as rca,
        max(e.recorded_at) filter (where e.event_type = 'incident.rca.updated') as rca_updated_at,
        min(e.recorded_at) filter (where e.event_type = 'incident.acknowledged') as acknowledged_at,
        min(e.actor_type) filter (where e.event_type = 'incident.acknowledged') as acknowledged_by_type,
        min(e.actor_id) filter (where e.event_type = 'incident.acknowledged') as acknowledged_by_id,
        min(e.data ->> 'reason') filter (where e.event_type = 'incident.closed') as closed_reason,
        min(e.recorded_at) filter (where e.event_type = 'incident.closed') as closed_at,
        max(e.recorded_at) as updated_at,
        max(e.entity_version) as entity_version,
        max(e.stream_seq) as stream_seq,
        (array_agg(e.event_id order by e.stream_seq desc))[1] as last_event_id
    from {events}
    where e.event_type in ('incident.acknowledged', 'incident.rca.updated', 'incident.learning.logged', 'incident.closed')
    group by e.entity_id
) c
where i.incident_id = c.entity_id
