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

-- name: acts
-- What was done or allowed in a workspace since a time, the newest first, of each type at most so many.
select act.*
from unnest($2::text[]) as wanted(event_type)
cross join lateral (
    select * from evt_events
    where workspace_id = $1 and event_type = wanted.event_type and recorded_at >= $3
        and (event_type <> 'policy.decided' or data ->> 'decision' = 'allow')
    order by recorded_at desc, event_id desc
    limit $4
) act
order by act.recorded_at desc, act.event_id desc

-- name: external_actions
-- Actions that users registered as leaving the machine.
select action_type from proj_actions where workspace_id = $1 and side_effect = 'external_write'
