-- name: table
create table {table} (
    agent_id          text        not null primary key,
    workspace_id      text        not null,
    principal_id      text        not null,
    display_name      text        not null,
    created_at        timestamptz not null,
    quarantined_at    timestamptz,
    quarantine_reason text,
    entity_version    int         not null,
    stream_seq        bigint      not null,
    last_event_id     uuid        not null
)

-- name: indexes
-- GET /v1/agents: a workspace's agents, newest first.
create index {table}_newest on {table} (workspace_id, created_at desc, agent_id desc)

-- name: registered
insert into {table} (
    agent_id, workspace_id, principal_id, display_name, created_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.data ->> 'principal_id', e.data ->> 'display_name', e.recorded_at,
    e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'agent.registered'

-- name: changed
-- The last event counts; letting an agent out has neither time nor reason, which empties both columns.
update {table} t
set quarantined_at = last.quarantined_at,
    quarantine_reason = last.quarantine_reason,
    entity_version = last.entity_version,
    stream_seq = last.stream_seq,
    last_event_id = last.event_id
from (
    select distinct on (e.entity_id)
        e.entity_id, (e.data ->> 'quarantined_at')::timestamptz as quarantined_at,
        e.data ->> 'quarantine_reason' as quarantine_reason, e.entity_version, e.stream_seq, e.event_id
    from {events}
    where e.event_type in ('agent.quarantined', 'agent.unquarantined')
    order by e.entity_id, e.stream_seq desc
) last
where t.agent_id = last.entity_id
