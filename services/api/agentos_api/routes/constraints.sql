-- name: get_constraint
-- A constraint as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, learned.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'constraint' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_constraints learned on learned.constraint_id = $2 and learned.workspace_id = $1
