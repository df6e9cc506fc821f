-- name: heads
-- Every stream that has a head, events, or both.
select stream_type, stream_id, h.seq, h.hash, h.workspace_id
from evt_stream_heads h
full join (select distinct stream_type, stream_id from evt_events) e using (stream_type, stream_id)
where $1::text is null or h.workspace_id = $1
order by stream_type, stream_id

-- name: size
-- About how many events there are, as the heads count them.
select coalesce(sum(seq), 0)::bigint from evt_stream_heads where $1::text is null or workspace_id = $1

-- name: head
select h.stream_type, h.stream_id, h.seq, h.hash, h.workspace_id from evt_stream_heads h where h.stream_type = $1 and h.stream_id = $2

-- name: owner
-- The workspaces that a stream's head and its first event name: one, unless somebody tampered.
select workspace_id from evt_stream_heads where stream_type = $1 and stream_id = $2
union
(select workspace_id from evt_events where stream_type = $1 and stream_id = $2 order by stream_seq limit 1)

-- name: anchor
-- The last event at or before a position.
select stream_seq, event_hash from evt_events
where stream_type = $1 and stream_id = $2 and stream_seq <= $3
order by stream_seq desc
limit 1

-- name: stream
-- Events of one stream after a position, in order.
select * from evt_events
where stream_type = $1 and stream_id = $2 and stream_seq > $3
order by stream_seq
limit $4

-- name: streams
-- All events of many short streams, one stream after the other; ordinal is its place in the arrays.
select s.ordinal, e.*
from unnest($1::text[], $2::text[]) with ordinality s (type, id, ordinal)
join evt_events e on e.stream_type = s.type and e.stream_id = s.id
order by s.ordinal, e.stream_seq

-- name: recorded_redactions
-- Which of some events of a stream an event of the same stream says were redacted.
select evt_events.data ->> 'target_event_id' as event_id from evt_events
where stream_type = $1 and stream_id = $2 and event_type = 'event.redacted'
    and evt_events.data ->> 'target_event_id' = any($3::text[])

-- name: unflagged_redaction
-- The first event that was redacted, as an event within (after, upto] says, and does not say so itself.
with told as materialized (
    select evt_events.data ->> 'target_event_id' as target from evt_events
    where stream_type = $1 and stream_id = $2 and stream_seq > $3 and stream_seq <= $4
        and event_type = 'event.redacted' and evt_events.data ->> 'target_event_id' ~ '^[0-9a-f-]{36}$'
)
select e.stream_seq, e.event_id, e.event_type, e.event_hash
from told join evt_events e on e.event_id = told.target::uuid
where e.stream_type = $1 and e.stream_id = $2 and e.redaction_level = 'none'
order by e.stream_seq
limit 1

-- name: weak_guards
-- What keeps evt_events append-only, and is not as the migrations made it.
select 'trigger ' || g.name || case when t.oid is null then ' is gone' else ' is disabled' end as problem
from unnest(array['evt_events_append_only', 'evt_events_no_truncate']) g (name)
left join pg_trigger t on t.tgrelid = 'evt_events'::regclass and t.tgname = g.name
where t.oid is null or t.tgenabled not in ('O', 'A')

-- name: unkept_checkpoints
-- Streams whose end at the last verification is no longer what it was. This finds what the chain alone cannot: a tail
-- that was deleted together with its head, and a chain that was computed anew from some event on.
select c.stream_type, c.stream_id, c.seq, c.hash, e.event_id, e.event_type, e.event_hash
from evt_checkpoints c
left join evt_events e on e.stream_type = c.stream_type and e.stream_id = c.stream_id and e.stream_seq = c.seq
where c.consumer = 'audit' and e.event_hash is distinct from c.hash
order by c.stream_type, c.stream_id

-- name: keep_checkpoints
-- The ends of all streams, as this snapshot has verified them.
insert into evt_checkpoints (consumer, stream_type, stream_id, seq, hash)
select 'audit', stream_type, stream_id, seq, hash from evt_stream_heads
on conflict (consumer, stream_type, stream_id)
do update set seq = excluded.seq, hash = excluded.hash, updated_at = clock_timestamp()
where (evt_checkpoints.seq, evt_checkpoints.hash) is distinct from (excluded.seq, excluded.hash)
