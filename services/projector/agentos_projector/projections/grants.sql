-- name: table
create table {table} (
    approval_id     text        primary key,
    workspace_id    text        not null,
    room_id         text,
    thread_id       text,
    run_id          text,
    action          text        not null,
    scope           jsonb       not null,
    status          text        not null,
    max_uses        int,
    uses            int         not null,
    max_total_amount text,
    total_amount    text,
    last_used_at    timestamptz,
    expires_at      timestamptz,
    granted_by_type text        not null,
    granted_by_id   text        not null,
    granted_at      timestamptz not null,
    revoked_by_type text,
    revoked_by_id   text,
    revoked_at      timestamptz,
    revoke_reason   text,
    correlation_id  text        not null,
    updated_at      timestamptz not null,
    stream_seq      bigint      not null,
    last_event_id   uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/grants: a workspace's, a room's, those of a status; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, approval_id desc);
create index {table}_of_room on {table} (room_id, updated_at desc, approval_id desc) where room_id is not null;
create index {table}_of_status on {table} (workspace_id, status, updated_at desc, approval_id desc)

-- name: granted
insert into {table} (
    approval_id, workspace_id, room_id, thread_id, run_id, action, scope, status, max_uses, uses, max_total_amount, expires_at,
    granted_by_type, granted_by_id, granted_at, correlation_id, updated_at, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.run_id, e.data ->> 'action', e.data -> 'scope', 'active',
    (e.data -> 'scope' ->> 'max_uses')::int, 0, e.data -> 'scope' ->> 'max_total_amount',
    (e.data ->> 'expires_at')::timestamptz, e.actor_type, e.actor_id,
    e.recorded_at, e.correlation_id, e.recorded_at, e.stream_seq, e.event_id
from {events}
where e.event_type = 'approval.decided' and e.data ->> 'decision' = 'approve' and e.data -> 'scope' ->> 'type' <> 'once'

-- name: changed
-- What ends a grant comes once; what was allowed only once has no row here.
update {table} as g set
    status = coalesce(c.status, g.status),
    uses = g.uses + c.uses,
    total_amount = coalesce(c.total_amount, g.total_amount),
    last_used_at = coalesce(c.last_used_at, g.last_used_at),
    revoked_by_type = coalesce(c.revoked_by_type, g.revoked_by_type),
    revoked_by_id = coalesce(c.revoked_by_id, g.revoked_by_id),
    revoked_at = coalesce(c.revoked_at, g.revoked_at),
    revoke_reason = coalesce(c.revoke_reason, g.revoke_reason),
    updated_at = c.updated_at,
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        e.entity_id,
        min(case e.event_type when 'grant.revoked' then 'revoked' when 'approval.lapsed' then 'lapsed' end) as status,
        count(*) filter (where e.event_type = 'grant.used') as uses,
        (array_agg(e.data ->> 'total_amount' order by e.stream_seq desc) filter (where e.data ? 'total_amount'))[1]
            as total_amount,
        max(e.recorded_at) filter (where e.event_type = 'grant.used') as last_used_at,
        min(e.actor_type) filter (where e.event_type = 'grant.revoked') as revoked_by_type,
        min(e.actor_id) filter (where e.event_type = 'grant.revoked') as revoked_by_id,
        min(e.recorded_at) filter (where e.event_type = 'grant.revoked') as revoked_at,
        min(e.data ->> 'reason') filter (where e.event_type = 'grant.revoked') as revoke_reason,
        max(e.recorded_at) as updated_at,
        max(e.stream_seq) as stream_seq,
        (array_agg(e.event_id order by e.stream_seq desc))[1] as last_event_id
    from {events}
    where e.event_type in ('grant.used', 'grant.revoked', 'approval.lapsed')
    group by e.entity_id
) c
where g.approval_id = c.entity_id
