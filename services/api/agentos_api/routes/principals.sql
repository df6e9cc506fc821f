-- name: get_principal
-- A principal as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, principal.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'principal' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_principals principal on principal.principal_id = $2 and principal.workspace_id = $1
