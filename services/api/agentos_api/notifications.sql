-- name: requested
-- How an approval was asked for.
select * from evt_events where entity_id = $2 and entity_version = 1 and entity_type = 'approval' and workspace_id = $1
