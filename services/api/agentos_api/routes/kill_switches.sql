-- name: get_switches
-- A workspace's engaged switches, the newest first, beside the versions that the store and the projection have.
select store.version as store_version, projected.version as entity_version, switch.*
from (
    select coalesce(max(entity_version), 0) as version from evt_events
    where entity_id = $2 and entity_type = 'kill_switch' and workspace_id = $1
) store
cross join (
    select coalesce(max(entity_version), 0) as version from proj_kill_switches where workspace_id = $1
) projected
left join lateral (
    select scope, nullif(target, '') as target, reason, actor_type, actor_id, changed_at, stream_seq
    from proj_kill_switches
    where workspace_id = $1 and engaged
) switch on true
order by switch.stream_seq desc
