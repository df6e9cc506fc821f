-- name: get_rule
-- An egress rule as projected, beside how far the store and the projection have come with the workspace's rules.
select store.version as store_version, projected.version as entity_version, rule.*
from (
    select coalesce(max(entity_version), 0) as version from evt_events
    where entity_id = $3 and entity_type = 'egress_rule' and workspace_id = $1
) store
cross join (
    select coalesce(max(entity_version), 0) as version from proj_egress_rules where workspace_id = $1
) projected
left join (
    select {columns} from proj_egress_rules where rule_id = $2 and workspace_id = $1
) rule on true
