-- name: get_evidence
-- A run's evidence as projected, and whether the store holds it. No row: there is no such run, or it has not ended.
select store.recorded, evidence.*
from (
    select exists (select from evt_events where entity_id = $3 and entity_version = 1) as recorded
    from evt_events
    where entity_id = $2 and entity_type = 'run' and workspace_id = $1 and event_type = any($4::text[])
    limit 1
) store
left join proj_evidence evidence on evidence.evidence_id = $3 and evidence.workspace_id = $1
