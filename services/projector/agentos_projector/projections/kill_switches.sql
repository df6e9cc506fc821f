-- name: table
create table {table} (
    workspace_id   text        not null,
    scope          text        not null,
    target         text        not null,
    engaged        boolean     not null,
    reason         text,
    actor_type     text        not null,
    actor_id       text        not null,
    changed_at     timestamptz not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null,
    primary key (workspace_id, scope, target)
)

-- name: indexes
-- GET /v1/policy/kill-switch: how far a workspace's switches are projected.
create index {table}_version on {table} (workspace_id, entity_version desc)

-- name: changed
-- The last event of each scope and target counts; an empty target stands for none.
insert into {table} (
    workspace_id, scope, target, engaged, reason, actor_type, actor_id, changed_at, entity_version, stream_seq,
    last_event_id
)
select distinct on (e.workspace_id, e.data ->> 'scope', coalesce(e.data ->> 'target', ''))
    e.workspace_id, e.data ->> 'scope', coalesce(e.data ->> 'target', ''), e.event_type = 'kill_switch.engaged',
    e.data ->> 'reason', e.actor_type, e.actor_id, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type in ('kill_switch.engaged', 'kill_switch.released')
order by e.workspace_id, e.data ->> 'scope', coalesce(e.data ->> 'target', ''), e.stream_seq desc
on conflict (workspace_id, scope, target) do update
set engaged = excluded.engaged,
    reason = excluded.reason,
    actor_type = excluded.actor_type,
    actor_id = excluded.actor_id,
    changed_at = excluded.changed_at,
    entity_version = excluded.entity_version,
    stream_seq = excluded.stream_seq,
    last_event_id = excluded.last_event_id
