-- name: decisions
-- Decisions on record in a workspace, and acts that were allowed, of a time, the newest first, after a place in this order.
select found.*
from unnest($2::text[]) as wanted(event_type)
cross join lateral (
    select * from evt_events
    where workspace_id = $1 and event_type = wanted.event_type and recorded_at >= $3
        and (recorded_at, event_id) < ($4, $5::uuid)
    order by recorded_at desc, event_id desc
    limit $6
) found
order by found.recorded_at desc, found.event_id desc
limit $6
