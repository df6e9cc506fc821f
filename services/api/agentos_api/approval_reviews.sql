-- name: requested
-- How an approval was asked for.
select * from evt_events where entity_id = $2 and entity_version = 1 and entity_type = 'approval' and workspace_id = $1

-- name: decided
-- The decision on exactly this: the last of the two thousand in the day before.
select * from (
    select * from evt_events
    where workspace_id = $1 and event_type = 'policy.decided' and recorded_at > now() - interval '1 day'
    order by recorded_at desc, event_id desc
    limit 2000
) lately
where strpos(content, $2) > 0
order by recorded_at desc, event_id desc
limit 1
