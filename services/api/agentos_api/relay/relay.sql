-- name: try_to_lead
-- Held by the session: it ends with the connection, however that ends.
select pg_try_advisory_lock($1)

-- name: waiting
-- The first rows, with about as many events. Ordered, but never after a remembered position: a late commit may carry a
-- lower one.
with counted as (
    select position, event_ids, traceparents, sum(cardinality(event_ids)) over (order by position) as upto
    from (select * from evt_outbox order by position limit $1) first_rows
)
select c.position, e.event_id, e.stream_type, e.stream_id, e.stream_seq, w.traceparent
from counted c
cross join lateral unnest(c.event_ids, c.traceparents) with ordinality as w (event_id, traceparent, place)
join evt_events e on e.event_id = w.event_id
where c.upto - cardinality(c.event_ids) < $1
order by c.position, w.place

-- name: events
-- Events by place, in no particular order.
select event_id, event_type, event_version, occurred_at, recorded_at, workspace_id, mission_id, room_id, thread_id,
       run_id, step_id, actor_type, actor_id, actor_principal_id, zone, stream_type, stream_id, stream_seq, entity_type,
       entity_id, entity_version, correlation_id, causation_id, redaction_level, contains_secrets, idempotency_key,
       prev_event_hash, event_hash, content, salt, data_digest
from unnest($1::text[], $2::text[], $3::bigint[]) as place (stream_type, stream_id, stream_seq)
join evt_events using (stream_type, stream_id, stream_seq)

-- name: stretch
-- Events of one stream between two places.
select event_id, event_type, event_version, occurred_at, recorded_at, workspace_id, mission_id, room_id, thread_id,
       run_id, step_id, actor_type, actor_id, actor_principal_id, zone, stream_type, stream_id, stream_seq, entity_type,
       entity_id, entity_version, correlation_id, causation_id, redaction_level, contains_secrets, idempotency_key,
       prev_event_hash, event_hash, content, salt, data_digest
from evt_events
where stream_type = $1 and stream_id = $2 and stream_seq > $3 and stream_seq <= $4
order by stream_seq
limit $5

-- name: since
-- Places of events by id. Ids are UUIDv7, so this is the order of time, give or take the clocks of several processes.
select event_id, stream_type, stream_id, stream_seq
from evt_events
where event_id > $1
order by event_id
limit $2

-- name: heads
select stream_type, stream_id, seq
from evt_stream_heads
where (stream_type, stream_id) > ($1, $2) and seq > 0
order by stream_type, stream_id
limit $3

-- name: forget
delete from evt_outbox where position = any($1::bigint[])

-- name: backlog
-- How many events wait (in a bounded number of rows), and for how long the first has.
select (
           select coalesce(sum(cardinality(event_ids)), 0) from (select event_ids from evt_outbox limit $1) as counted
       )::bigint as depth,
       coalesce((
           select extract(epoch from clock_timestamp() - recorded_at)
           from (select event_ids[1] as event_id from evt_outbox order by position limit 1) as first_row
           join evt_events using (event_id)
       ), 0)::float8 as age_s
