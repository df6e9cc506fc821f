-- name: get_egress_request
-- A request as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, asked.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'egress_request' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_egress_requests asked on asked.egress_request_id = $2 and asked.workspace_id = $1
