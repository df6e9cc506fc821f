-- name: read_stream
-- Events of one stream after a position, in order.
select * from evt_events
where stream_type = $1 and stream_id = $2 and stream_seq > $3
order by stream_seq
limit $4

-- name: read_entities
-- All events of some entities, each in the order of its life.
select * from evt_events
where entity_id = any($1::text[])
order by entity_id, entity_version

-- name: read_run_ends
-- The last event of each of these runs and of what is inside them.
select e.*
from unnest($1::text[]) as wanted(run_id)
cross join lateral (
    select * from evt_events
    where run_id = wanted.run_id and entity_type in ('run', 'step', 'tool_call', 'artifact')
    order by stream_seq desc
    limit 1
) as e

-- name: read_event
select * from evt_events where event_id = $1

-- name: read_head
select seq, hash from evt_stream_heads where stream_type = $1 and stream_id = $2

-- name: locate_entities
-- Where entities live and what they are: facts that never change.
select entity_id, entity_type, workspace_id, stream_type, stream_id, thread_id, run_id, step_id
from evt_events
where entity_id = any($1::text[]) and entity_version = 1
