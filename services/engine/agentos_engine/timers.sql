-- name: due
-- Take up to $1 rows whose time has come; each is looked at again in a few seconds unless an event changes it. A
-- reservation whose claim never came is simply free again.
with due as (
    select run_id from eng_runs where due_at <= clock_timestamp() order by due_at limit $1 for update skip locked
)
update eng_runs r set
    state = case r.state when 'reserved' then 'queued' else r.state end,
    due_at = case r.state when 'reserved' then null else clock_timestamp() + interval '5 seconds' end
from due d join eng_runs o on o.run_id = d.run_id
where r.run_id = d.run_id
returning r.run_id, r.workspace_id, o.state, r.attempt_no, r.claim_token,
    r.deadline_at <= clock_timestamp() as out_of_time, r.lease_expires_at <= clock_timestamp() as run_out

-- name: next
-- The database's time, and the seconds until the next timer.
select clock_timestamp() as now, extract(epoch from min(due_at) - clock_timestamp())::float8 as wait_s from eng_runs

-- name: step
-- The clock was moved by $1 seconds: move the timers along, unless another process has just done it.
with first as (
    insert into eng_steps_of_clock as s (one, stepped_at) values (true, clock_timestamp())
    on conflict (one) do update set stepped_at = excluded.stepped_at
    where abs(extract(epoch from excluded.stepped_at - s.stepped_at)) > 5
    returning 1
)
update eng_runs r set
    lease_heartbeat_at = lease_heartbeat_at + make_interval(secs => $1),
    lease_expires_at = lease_expires_at + make_interval(secs => $1),
    deadline_at = deadline_at + make_interval(secs => $1),
    due_at = due_at + make_interval(secs => $1)
where due_at is not null and exists (select from first)
