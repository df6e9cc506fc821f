-- name: get_approval
-- An approval as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, approval.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'approval' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_approvals approval on approval.approval_id = $2 and approval.workspace_id = $1
