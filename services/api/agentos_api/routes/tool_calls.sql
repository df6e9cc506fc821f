-- name: get_tool_call
-- A tool call as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, call.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'tool_call' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_tool_calls call on call.tool_call_id = $2 and call.workspace_id = $1
