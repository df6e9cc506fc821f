-- name: requested
-- How an approval was asked for.
select * from evt_events where entity_id = $2 and entity_version = 1 and entity_type = 'approval' and workspace_id = $1

-- name: asked
-- A page of the gate's decisions on record, the newest first, after a place in this order.
select * from evt_events
where workspace_id = $1 and event_type = 'policy.decided' and recorded_at >= $2 and (recorded_at, event_id) < ($3, $4::uuid)
order by recorded_at desc, event_id desc
limit $5
