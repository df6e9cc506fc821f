-- name: get_experiment
-- An experiment as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, experiment.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'experiment' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_experiments experiment on experiment.experiment_id = $2 and experiment.workspace_id = $1
