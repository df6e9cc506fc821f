-- Turning events into rows. Times are the database's; a lease begins anew when it is read, so that a rebuilt table gives
-- every open lease one fresh TTL.

-- name: fields
-- What a row needs of an event: the data itself may be large. It is taken out of the content once.
    e.run_id, e.event_type, e.workspace_id, e.room_id, e.event_id, e.entity_version, e.idempotency_key, e.entity_type,
    d.data ->> 'claim_token' as claim_token,
    (d.data ->> 'attempt_no')::int as attempt_no,
    (d.data ->> 'lease_ttl_s')::int as lease_ttl_s,
    (d.data ->> 'priority')::int as priority,
    (d.data ->> 'timeout_s')::int as timeout_s,
    d.data -> 'input' ->> 'handler' as handler,
    d.data ->> 'claimed_by_actor_id' as holder, d.data ->> 'actor_principal_id' as holder_principal_id,
    case e.entity_type when 'kill_switch' then d.data ->> 'scope' end as scope,
    case e.entity_type when 'kill_switch' then d.data ->> 'target' end as target,
    case e.entity_type when 'kill_switch' then d.data ->> 'reason' end as reason,
    case e.event_type when 'approval.decided' then d.data ->> 'decision' end as decision,
    e.entity_id, e.recorded_at,
    case jsonb_typeof(d.data -> 'tags') when 'array' then array(select jsonb_array_elements_text(d.data -> 'tags')) end as tags

-- name: read
-- What some ranges say of runs, in order.
select
{fields}
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) with ordinality as r(stream_type, stream_id, after, upto, n)
join evt_events e on e.stream_type = r.stream_type and e.stream_id = r.stream_id
    and e.stream_seq > r.after and e.stream_seq <= r.upto
cross join lateral (select e.data offset 0) d
where (e.run_id is not null and (e.entity_type in ('run', 'approval') or e.event_type in ('evidence.manifest.created', 'incident.opened')))
    or e.entity_type = 'kill_switch'
order by r.n, e.stream_seq

-- name: claim_and_read
-- Lock what can move, as every consumer does, and read what is there in the same round trip unless it is much ($5 events).
-- A range comes once for each event of its, or once without any.
with claimed as (
    select c.stream_type, c.stream_id, c.seq as after, least(s.seq, w.upto) as upto
    from unnest($1::text[], $2::text[], $3::bigint[]) as w(stream_type, stream_id, upto)
    join eng_checkpoints c on c.stream_type = w.stream_type and c.stream_id = w.stream_id
    join evt_stream_heads s on s.stream_type = w.stream_type and s.stream_id = w.stream_id
    where c.seq < least(s.seq, w.upto)
        and ($4 or not exists (select from eng_parked p where p.stream_type = w.stream_type and p.stream_id = w.stream_id))
    order by 1, 2
    for update of c
)
select c.stream_type, c.stream_id, c.after, c.upto, found.*
from claimed c
left join lateral (
    select e.stream_seq,
{fields}
    from evt_events e
    cross join lateral (select e.data offset 0) d
    where e.stream_type = c.stream_type and e.stream_id = c.stream_id
        and e.stream_seq > c.after and e.stream_seq <= c.upto
        and (
            (
                e.run_id is not null
                and (e.entity_type in ('run', 'approval') or e.event_type in ('evidence.manifest.created', 'incident.opened'))
            )
            or e.entity_type = 'kill_switch'
        )
        and (select sum(upto - after) from claimed) <= $5
) found on true
order by c.stream_type, c.stream_id, found.stream_seq

-- name: write
-- New runs, changed runs, ended runs and what follows from their end: each run is in one of the first three. The
-- checkpoints move in the same statement; it says how many did.
with ended as (
    delete from eng_runs where run_id = any($1::text[])
), made as (
    insert into eng_runs (
        run_id, workspace_id, room_id, handler, tags, priority, created_event, timeout_s, version, state, attempt_no,
        claim_token, claim_key, expired, lease_ttl_s, holder, stop_acknowledged, lease_heartbeat_at, lease_expires_at,
        deadline_at, due_at
    )
    select
        n.run_id, n.workspace_id, n.room_id, n.handler, array(select jsonb_array_elements_text(n.tags)), n.priority,
        n.created_event, n.timeout_s, n.version, n.state, n.attempt_no, n.claim_token, n.claim_key, n.expired,
        n.lease_ttl_s, array(select jsonb_array_elements_text(n.holder)), n.acknowledged,
        case n.state when 'held' then t.now end, l.expires_at, l.deadline_at,
        least(l.expires_at, l.deadline_at)
    from unnest(
        $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::int[], $8::uuid[], $9::int[], $10::int[],
        $11::text[], $12::int[], $13::text[], $14::text[], $15::boolean[], $16::int[], $17::jsonb[], $18::boolean[]
    ) as n(
        run_id, workspace_id, room_id, handler, tags, priority, created_event, timeout_s, version, state, attempt_no,
        claim_token, claim_key, expired, lease_ttl_s, holder, acknowledged
    )
    cross join (select clock_timestamp() as now) t
    cross join lateral (
        select
            case n.state when 'held' then t.now + make_interval(secs => n.lease_ttl_s) end as expires_at,
            case when n.state in ('held', 'started') then t.now + make_interval(secs => n.timeout_s) end as deadline_at
    ) l
    on conflict (run_id) do nothing
), changed as (
    update eng_runs r set
        version = n.version,
        state = n.state,
        attempt_no = coalesce(n.attempt_no, r.attempt_no),
        claim_token = coalesce(n.claim_token, r.claim_token),
        claim_key = n.claim_key,
        holder = array(select jsonb_array_elements_text(n.holder)),
        stop_acknowledged = n.acknowledged,
        expired = n.expired,
        lease_ttl_s = n.lease_ttl_s,
        lease_heartbeat_at = case n.state when 'held' then t.now end,
        lease_expires_at = l.expires_at,
        deadline_at = l.deadline_at,
        due_at = least(l.expires_at, l.deadline_at)
    from unnest(
        $19::text[], $20::int[], $21::text[], $22::int[], $23::text[], $24::text[], $25::boolean[], $26::int[],
        $27::jsonb[], $28::boolean[]
    ) as n(run_id, version, state, attempt_no, claim_token, claim_key, expired, lease_ttl_s, holder, acknowledged)
    cross join (select clock_timestamp() as now) t
    join eng_runs o on o.run_id = n.run_id
    cross join lateral (
        select
            case n.state when 'held' then t.now + make_interval(secs => n.lease_ttl_s) end as expires_at,
            case when n.state in ('held', 'started') then t.now + make_interval(secs => o.timeout_s) end as deadline_at
    ) l
    where r.run_id = n.run_id
), moved as (
    update eng_runs r set
        version = n.version,
        state = case when s.starts then 'started' else r.state end,
        deadline_at = case when s.starts then s.deadline_at else r.deadline_at end,
        due_at = case when s.starts then s.deadline_at else r.due_at end,
        stop_acknowledged = r.stop_acknowledged or n.acknowledged
    from unnest($29::text[], $30::int[], $31::boolean[], $32::boolean[]) as n(run_id, version, started, acknowledged)
    join eng_runs o on o.run_id = n.run_id
    cross join lateral (
        select
            n.started and o.state in ('queued', 'reserved') as starts,
            clock_timestamp() + make_interval(secs => o.timeout_s) as deadline_at
    ) s
    where r.run_id = n.run_id
), done as (
    delete from eng_followups f
    using unnest($33::text[], $34::text[]) as n(run_id, kind)
    where f.run_id = n.run_id and f.kind = n.kind
), due as (
    insert into eng_followups (run_id, kind, workspace_id)
    select * from unnest($35::text[], $36::text[], $37::text[])
    on conflict do nothing
), advanced as (
    update eng_checkpoints c set seq = r.upto
    from unnest($38::text[], $39::text[], $40::bigint[], $41::bigint[]) as r(stream_type, stream_id, after, upto)
    where c.stream_type = r.stream_type and c.stream_id = r.stream_id and c.seq = r.after
    returning 1
)
select count(*) from advanced

-- name: switch
-- Switches as the last event of each leaves them ($6 null: released). When they are engaged, somebody looks later whether
-- what they stop has stopped.
with released as (
    delete from eng_switches s using unnest($1::text[], $2::text[], $3::text[], $6::timestamptz[])
        as n(workspace_id, scope, target, engaged_at)
    where s.workspace_id = n.workspace_id and s.scope = n.scope and s.target = n.target and n.engaged_at is null
)
insert into eng_switches as s (workspace_id, scope, target, event_id, reason, engaged_at, look_at)
select n.*, n.engaged_at + interval '30 seconds'
from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[])
    as n(workspace_id, scope, target, event_id, reason, engaged_at)
where n.engaged_at is not null
on conflict (workspace_id, scope, target) do update set
    event_id = excluded.event_id, reason = excluded.reason, engaged_at = excluded.engaged_at, look_at = excluded.look_at

-- name: hold
-- Approvals as the last event of each leaves them: on hold, or no longer.
with ended as (
    delete from eng_holds h using unnest($1::text[], $2::text[], $3::boolean[]) as n(approval_id, run_id, held)
    where h.approval_id = n.approval_id and not n.held
)
insert into eng_holds (approval_id, run_id)
select n.approval_id, n.run_id from unnest($1::text[], $2::text[], $3::boolean[]) as n(approval_id, run_id, held)
where n.held
on conflict do nothing
