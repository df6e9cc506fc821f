-- A consumer's progress. {checkpoints} and {parked} are the consumer's own tables (proj_checkpoints, pol_checkpoints, ...).

-- name: tables
create table if not exists {checkpoints} (
    stream_type text   not null,
    stream_id   text   not null,
    seq         bigint not null check (seq >= 0),
    primary key (stream_type, stream_id)
) with (fillfactor = 50); -- room for HOT updates: a row moves with every batch of its stream
create table if not exists {parked} (
    stream_type text        not null,
    stream_id   text        not null,
    stream_seq  bigint      not null,
    event_id    uuid,
    event_type  text,
    sqlstate    text,
    error       text        not null,
    attempts    int         not null,
    since       timestamptz not null,
    last_tried  timestamptz not null,
    primary key (stream_type, stream_id)
)

-- name: begin_streams
-- A checkpoint row for every stream that has none yet, so that claim has something to lock.
insert into {checkpoints} (stream_type, stream_id, seq)
select s.stream_type, s.stream_id, 0
from unnest($1::text[], $2::text[]) as w(stream_type, stream_id)
join evt_stream_heads s on s.stream_type = w.stream_type and s.stream_id = w.stream_id
where not exists (
    select from {checkpoints} c where c.stream_type = w.stream_type and c.stream_id = w.stream_id
)
order by 1, 2
on conflict do nothing

-- name: claim
-- Lock what can move, in sorted order, and say from where to where. A second consumer waits here, then finds it done.
-- $4: parked streams too.
select c.stream_type, c.stream_id, c.seq as after, least(s.seq, w.upto) as upto
from unnest($1::text[], $2::text[], $3::bigint[]) as w(stream_type, stream_id, upto)
join {checkpoints} c on c.stream_type = w.stream_type and c.stream_id = w.stream_id
join evt_stream_heads s on s.stream_type = w.stream_type and s.stream_id = w.stream_id
where c.seq < least(s.seq, w.upto)
    and ($4 or not exists (select from {parked} p where p.stream_type = w.stream_type and p.stream_id = w.stream_id))
order by 1, 2
for update of c

-- name: advance
-- The rows are locked by claim; the comparison is the last line of defence against applying anything twice.
update {checkpoints} c
set seq = r.upto
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) as r(stream_type, stream_id, after, upto)
where c.stream_type = r.stream_type and c.stream_id = r.stream_id and c.seq = r.after

-- name: park
-- Stop a stream at the event that cannot be applied.
insert into {parked} (stream_type, stream_id, stream_seq, event_id, event_type, sqlstate, error, attempts, since, last_tried)
select
    $1, $2, $3,
    (select event_id from evt_events where stream_type = $1 and stream_id = $2 and stream_seq = $3),
    (select event_type from evt_events where stream_type = $1 and stream_id = $2 and stream_seq = $3),
    $4, $5, 1, clock_timestamp(), clock_timestamp()
on conflict (stream_type, stream_id) do update set
    stream_seq = excluded.stream_seq,
    event_id = excluded.event_id,
    event_type = excluded.event_type,
    sqlstate = excluded.sqlstate,
    error = excluded.error,
    attempts = case when {parked}.stream_seq = excluded.stream_seq then {parked}.attempts + 1 else 1 end,
    since = case when {parked}.stream_seq = excluded.stream_seq then {parked}.since else excluded.since end,
    last_tried = excluded.last_tried
returning stream_type, stream_id, stream_seq, event_id, event_type, sqlstate, error, attempts, since, last_tried

-- name: unpark
-- Streams that were tried again and got past the event that stopped them.
delete from {parked} p
using unnest($1::text[], $2::text[], $3::bigint[]) as r(stream_type, stream_id, upto)
where p.stream_type = r.stream_type and p.stream_id = r.stream_id and p.stream_seq <= r.upto

-- name: list_parked
select stream_type, stream_id, stream_seq, event_id, event_type, sqlstate, error, attempts, since, last_tried
from {parked} order by since, stream_type, stream_id limit $1

-- name: count_parked
select count(*) from {parked}

-- name: behind
-- A page of the streams whose head is past their checkpoint, in the order of their keys, after a key.
select s.stream_type, s.stream_id, coalesce(c.seq, 0) as after, s.seq as upto
from evt_stream_heads s
left join {checkpoints} c on c.stream_type = s.stream_type and c.stream_id = s.stream_id
where (s.stream_type, s.stream_id) > ($1, $2)
    and s.seq > coalesce(c.seq, 0)
    and not exists (select from {parked} p where p.stream_type = s.stream_type and p.stream_id = s.stream_id)
order by s.stream_type, s.stream_id
limit $3

-- name: oldest_waiting
-- When the first waiting event of each of these streams was recorded: the lag in seconds starts at the oldest.
select min(e.recorded_at)
from unnest($1::text[], $2::text[], $3::bigint[]) as w(stream_type, stream_id, after)
join evt_events e on e.stream_type = w.stream_type and e.stream_id = w.stream_id and e.stream_seq = w.after + 1
