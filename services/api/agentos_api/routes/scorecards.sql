-- name: get_scorecard
-- A scorecard as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, scorecard.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'scorecard' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_scorecards scorecard on scorecard.scorecard_id = $2 and scorecard.workspace_id = $1
