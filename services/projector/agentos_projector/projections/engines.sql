-- name: table
create table {table} (
    engine_id          text        not null primary key,
    workspace_id       text        not null,
    engine_name        text        not null,
    actor_id           text        not null,
    principal_id       text        not null,
    metadata           jsonb       not null,
    status             text        not null,
    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    deactivated_at     timestamptz,
    deactivated_reason text,
    entity_version     int         not null,
    stream_seq         bigint      not null,
    last_event_id      uuid        not null
)

-- name: indexes
-- GET /v1/engines: a workspace's engines, newest first.
create index {table}_newest on {table} (workspace_id, created_at desc, engine_id desc)

-- name: registered
insert into {table} (
    engine_id, workspace_id, engine_name, actor_id, principal_id, metadata, status,
    created_at, updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.data ->> 'engine_name', e.data ->> 'actor_id', e.data ->> 'principal_id',
    e.data -> 'metadata', 'active', e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'engine.registered' and e.entity_version = 1

-- name: changed
-- What came after the first registration: the last registration and the last change of status count.
with later as (
    select * from {events}
    where e.event_type in ('engine.registered', 'engine.token.issued', 'engine.token.revoked', 'engine.deactivated')
        and e.entity_version > 1
),
last as (
    select distinct on (entity_id) entity_id, entity_version, stream_seq, event_id, recorded_at
    from later
    order by entity_id, stream_seq desc
),
named as (
    select distinct on (entity_id) entity_id, data
    from later
    where event_type = 'engine.registered'
    order by entity_id, stream_seq desc
),
status as (
    select distinct on (entity_id) entity_id, event_type = 'engine.registered' as active, data, recorded_at
    from later
    where event_type in ('engine.registered', 'engine.deactivated')
    order by entity_id, stream_seq desc
)
update {table} t
set engine_name = coalesce(named.data ->> 'engine_name', t.engine_name),
    metadata = coalesce(named.data -> 'metadata', t.metadata),
    status = case when status.active is null then t.status when status.active then 'active' else 'inactive' end,
    deactivated_at = case
        when status.active is null then t.deactivated_at when status.active then null else status.recorded_at
    end,
    deactivated_reason = case
        when status.active is null then t.deactivated_reason when status.active then null else status.data ->> 'reason'
    end,
    updated_at = last.recorded_at,
    entity_version = last.entity_version,
    stream_seq = last.stream_seq,
    last_event_id = last.event_id
from last
left join named on named.entity_id = last.entity_id
left join status on status.entity_id = last.entity_id
where t.engine_id = last.entity_id
