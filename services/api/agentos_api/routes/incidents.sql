-- name: get_incident
-- An incident as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, incident.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'incident' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_incidents incident on incident.incident_id = $2 and incident.workspace_id = $1

-- name: learning
-- What was learnt from an incident up to a place in its stream, so that it is as many as the incident says.
select learning_id, incident_id, workspace_id, room_id, run_id, note, tags, created_by_type, created_by_id, created_at,
    last_event_id
from proj_incident_learning
where incident_id = $1 and stream_seq <= $2
order by stream_seq
