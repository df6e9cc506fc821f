-- name: table
create table {table} (
    constraint_id  text        not null primary key,
    workspace_id   text        not null,
    room_id        text,
    category       text        not null,
    action         text        not null,
    reason_code    text        not null,
    pattern_hash   text        not null,
    guidance       text,
    subject_key    text        not null,
    principal_id   text,
    agent_id       text,
    seen_count     int         not null,
    repeat_count   int         not null,
    status         text        not null,
    effect         text,
    expires_at     timestamptz,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/constraints: a workspace's, an agent's, those of a status; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, constraint_id desc);
create index {table}_of_agent on {table} (workspace_id, agent_id, updated_at desc, constraint_id desc) where agent_id is not null;
create index {table}_of_status on {table} (workspace_id, status, updated_at desc, constraint_id desc);
-- How often the same was refused to the same, wherever.
create index {table}_of_subject on {table} (workspace_id, subject_key, pattern_hash)

-- name: learned
insert into {table} (
    constraint_id, workspace_id, room_id, category, action, reason_code, pattern_hash, guidance, subject_key,
    principal_id, agent_id, seen_count, repeat_count, status, created_at, updated_at, entity_version, stream_seq,
    last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.data ->> 'category', e.data ->> 'action', e.data ->> 'reason_code',
    e.data ->> 'pattern_hash', e.data ->> 'guidance', e.data ->> 'subject_key', e.data ->> 'principal_id',
    e.data ->> 'agent_id', (e.data ->> 'seen_count')::int, (e.data ->> 'repeat_count')::int, 'candidate', e.recorded_at,
    e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'constraint.learned' and e.entity_version = 1

-- name: changed
-- The last count, the last decision of a person, and the last event of all.
update {table} t
set seen_count = coalesce((counted.data ->> 'seen_count')::int, t.seen_count),
    repeat_count = coalesce((counted.data ->> 'repeat_count')::int, t.repeat_count),
    status = case decided.event_type
        when 'constraint.activated' then 'active' when 'constraint.retired' then 'retired' else t.status
    end,
    effect = coalesce(activated.data ->> 'effect', t.effect),
    expires_at = case
        when activated.entity_id is null then t.expires_at else (activated.data ->> 'expires_at')::timestamptz
    end,
    updated_at = last.recorded_at,
    entity_version = last.entity_version,
    stream_seq = last.stream_seq,
    last_event_id = last.event_id
from (
    select distinct on (e.entity_id) e.entity_id, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
    from {events}
    where e.entity_type = 'constraint'
    order by e.entity_id, e.stream_seq desc
) last
left join (
    select distinct on (e.entity_id) e.entity_id, e.data
    from {events}
    where e.event_type = 'constraint.learned'
    order by e.entity_id, e.stream_seq desc
) counted on counted.entity_id = last.entity_id
left join (
    select distinct on (e.entity_id) e.entity_id, e.event_type
    from {events}
    where e.event_type in ('constraint.activated', 'constraint.retired')
    order by e.entity_id, e.stream_seq desc
) decided on decided.entity_id = last.entity_id
left join (
    select distinct on (e.entity_id) e.entity_id, e.data
    from {events}
    where e.event_type = 'constraint.activated'
    order by e.entity_id, e.stream_seq desc
) activated on activated.entity_id = last.entity_id
where t.constraint_id = last.entity_id
