-- name: due
-- What is to be done now. Nothing is reserved: should two processes do the same, one of them changes nothing.
select run_id, kind, workspace_id, extract(epoch from clock_timestamp() - due_at)::float8 as late_s
from eng_followups where due_at <= clock_timestamp() order by due_at limit $1

-- name: done
delete from eng_followups f using unnest($1::text[], $2::text[]) as d(run_id, kind)
where f.run_id = d.run_id and f.kind = d.kind

-- name: later
-- What could not be done now: again after a wait that doubles up to an hour.
update eng_followups f
set attempts = f.attempts + 1,
    due_at = clock_timestamp() + make_interval(secs => least(3600, 0.2 * power(2, least(f.attempts, 20))))
from unnest($1::text[], $2::text[]) as d(run_id, kind)
where f.run_id = d.run_id and f.kind = d.kind

-- name: next
select extract(epoch from min(due_at) - clock_timestamp())::float8 from eng_followups
