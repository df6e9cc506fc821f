-- name: run_events
-- Of some runs that have ended: their events in their stream up to the one that ended them, in order, without what they
-- say.
select
    e.event_id::text, e.event_type, e.occurred_at, e.recorded_at, e.workspace_id, e.room_id, e.thread_id, e.run_id,
    e.stream_type, e.stream_id, e.stream_seq, e.entity_type, e.entity_id, e.correlation_id, e.event_hash
from unnest($1::text[]) as r(run_id)
cross join lateral (
    select stream_type, stream_id, stream_seq from evt_events
    where entity_id = r.run_id and entity_type = 'run' and event_type = any($2::text[])
    order by entity_version
    limit 1
) ended
-- Offset 0 keeps the planner from reading the whole stream instead.
cross join lateral (select * from evt_events where run_id = r.run_id offset 0) e
where e.stream_type = ended.stream_type and e.stream_id = ended.stream_id and e.stream_seq <= ended.stream_seq
order by e.run_id, e.stream_seq

-- name: evidence_event
-- The evidence of a run, as it was recorded.
select * from evt_events
where entity_id = $1 and event_type = 'evidence.manifest.created'
order by entity_version
limit 1

-- name: active_runs
-- How many runs of an experiment have not ended. A look at each run: no plan can join the ends of all runs to it.
select count(*) from evt_events created
where created.event_type = 'run.created' and strpos(created.content, '"experiment_id":"') > 0
    and created.data ->> 'experiment_id' = $1
    and (
        select ended.entity_version from evt_events ended
        where ended.entity_id = created.entity_id and ended.event_type = any($2::text[])
        limit 1
    ) is null
