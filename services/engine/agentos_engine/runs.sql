-- Turning events into rows. Times are the database's; a lease begins anew when it is read, so that a rebuilt table gives
-- every open lease one fresh TTL.

-- name: fields
-- What a row needs of an event: the data itself may be large.
    e.run_id, e.event_type, e.workspace_id, e.room_id, e.event_id, e.entity_version, e.idempotency_key, e.entity_type,
    e.data ->> 'claim_token' as claim_token,
    (e.data ->> 'attempt_no')::int as attempt_no,
    (e.data ->> 'lease_ttl_s')::int as lease_ttl_s,
    (e.data ->> 'priority')::int as priority,
    (e.data ->> 'timeout_s')::int as timeout_s,
    e.data -> 'input' ->> 'handler' as handler,
    case jsonb_typeof(e.data -> 'tags') when 'array' then array(select jsonb_array_elements_text(e.data -> 'tags')) end as tags

-- name: read
-- What some ranges say of runs, in order.
select
{fields}
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) with ordinality as r(stream_type, stream_id, after, upto, n)
join evt_events e on e.stream_type = r.stream_type and e.stream_id = r.stream_id
    and e.stream_seq > r.after and e.stream_seq <= r.upto
where e.run_id is not null and (e.entity_type = 'run' or e.event_type in ('evidence.manifest.created', 'incident.opened'))
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
    where e.stream_type = c.stream_type and e.stream_id = c.stream_id
        and e.stream_seq > c.after and e.stream_seq <= c.upto
        and e.run_id is not null
        and (e.entity_type = 'run' or e.event_type in ('evidence.manifest.created', 'incident.opened'))
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
        claim_token, claim_key, expired, lease_ttl_s, lease_heartbeat_at, lease_expires_at, deadline_at, due_at
    )
    select
        n.run_id, n.workspace_id, n.room_id, n.handler, array(select jsonb_array_elements_text(n.tags)), n.priority,
        n.created_event, n.timeout_s, n.version, n.state, n.attempt_no, n.claim_token, n.claim_key, n.expired,
        n.lease_ttl_s, case n.state when 'held' then t.now end, l.expires_at, l.deadline_at,
        least(l.expires_at, l.deadline_at)
    from unnest(
        $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::int[], $8::uuid[], $9::int[], $10::int[],
        $11::text[], $12::int[], $13::text[], $14::text[], $15::boolean[], $16::int[]
    ) as n(
        run_id, workspace_id, room_id, handler, tags, priority, created_event, timeout_s, version, state, attempt_no,
        claim_token, claim_key, expired, lease_ttl_s
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
        expired = n.expired,
        lease_ttl_s = n.lease_ttl_s,
        lease_heartbeat_at = case n.state when 'held' then t.now end,
        lease_expires_at = l.expires_at,
        deadline_at = l.deadline_at,
        due_at = least(l.expires_at, l.deadline_at)
    from unnest(
        $17::text[], $18::int[], $19::text[], $20::int[], $21::text[], $22::text[], $23::boolean[], $24::int[]
    ) as n(run_id, version, state, attempt_no, claim_token, claim_key, expired, lease_ttl_s)
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
        due_at = case when s.starts then s.deadline_at else r.due_at end
    from unnest($25::text[], $26::int[], $27::boolean[]) as n(run_id, version, started)
    join eng_runs o on o.run_id = n.run_id
    cross join lateral (
        select
            n.started and o.state in ('queued', 'reserved') as starts,
            clock_timestamp() + make_interval(secs => o.timeout_s) as deadline_at
    ) s
    where r.run_id = n.run_id
), done as (
    delete from eng_followups f
    using unnest($28::text[], $29::text[]) as n(run_id, kind)
    where f.run_id = n.run_id and f.kind = n.kind
), due as (
    insert into eng_followups (run_id, kind, workspace_id)
    select * from unnest($30::text[], $31::text[], $32::text[])
    on conflict do nothing
), advanced as (
    update eng_checkpoints c set seq = r.upto
    from unnest($33::text[], $34::text[], $35::bigint[], $36::bigint[]) as r(stream_type, stream_id, after, upto)
    where c.stream_type = r.stream_type and c.stream_id = r.stream_id and c.seq = r.after
    returning 1
)
select count(*) from advanced
