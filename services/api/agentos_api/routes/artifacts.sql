-- name: get_artifact
-- An artifact as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, artifact.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'artifact' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_artifacts artifact on artifact.artifact_id = $2 and artifact.workspace_id = $1
