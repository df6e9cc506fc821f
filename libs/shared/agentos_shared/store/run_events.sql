-- name: run_end
-- Where the event is that ended a run; no row while it has not ended.
select stream_type, stream_id, stream_seq from evt_events
where entity_id = $1 and entity_type = 'run' and event_type = any($2::text[])
order by entity_version
limit 1

-- name: run_events
-- A run's events in its stream up to a position, in order, without what they say.
select
    event_id::text, event_type, occurred_at, recorded_at, workspace_id, room_id, thread_id, run_id, stream_type, stream_id,
    stream_seq, entity_type, entity_id, correlation_id, event_hash
from evt_events
where run_id = $1 and stream_type = $2 and stream_id = $3 and stream_seq <= $4
order by stream_seq

-- name: evidence_event
-- The evidence of a run, as it was recorded.
select * from evt_events
where entity_id = $1 and event_type = 'evidence.manifest.created'
order by entity_version
limit 1

-- name: active_runs
-- How many runs of an experiment have not ended.
select count(*) from evt_events created
where created.event_type = 'run.created' and created.data ->> 'experiment_id' = $1
    and not exists (
        select from evt_events ended
        where ended.entity_id = created.entity_id and ended.event_type = any($2::text[])
    )
