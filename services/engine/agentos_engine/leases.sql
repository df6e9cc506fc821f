-- name: renew
-- Heartbeats of leases that are held and have not run out, by the database's clock. Where the store knows more of the
-- run than its row does, nothing is renewed: what was acknowledged before the heartbeat counts. Nor is it for an engine
-- ($3, null: none proved to be one) that is not the one which claimed. Beside each the first of the switches that stop it.
update eng_runs r set
    lease_heartbeat_at = t.now,
    lease_expires_at = t.now + make_interval(secs => r.lease_ttl_s),
    due_at = least(t.now + make_interval(secs => r.lease_ttl_s), r.deadline_at)
from unnest($1::text[], $2::text[], $3::text[]) as w(run_id, claim_token, engine_id)
join eng_runs o on o.run_id = w.run_id and o.claim_token = w.claim_token and o.state = 'held'
cross join (select clock_timestamp() as now) t
left join lateral (
    select s.scope, s.target, s.reason from eng_switches s
    where s.workspace_id = o.workspace_id and {stops}
    order by s.engaged_at
    limit 1
) stop on true
where r.run_id = w.run_id and r.claim_token = w.claim_token and r.state = 'held' and r.lease_expires_at > t.now
    and not exists (select from evt_events e where e.entity_id = o.run_id and e.entity_version > o.version)
    and (w.engine_id is null or exists (
        select from evt_events c
        where c.entity_id = o.run_id and c.event_type = 'run.claimed'
            and c.data ->> 'claim_token' = o.claim_token and c.data ->> 'engine_id' = w.engine_id
    ))
returning r.run_id, r.claim_token, w.engine_id, r.lease_expires_at, r.lease_heartbeat_at,
    stop.scope, stop.target, stop.reason

-- name: state
-- Why a lease could not be renewed.
select run_id, state, claim_token, expired, lease_expires_at <= clock_timestamp() as run_out
from eng_runs where run_id = any($1::text[])
