-- Handing out runs. What is picked is reserved for a few seconds, in which its claim is appended; the append decides.
-- {tags} is the statement below or nothing, {free} the one below; {reserve} is the tail of each. $1.. are parallel arrays, a row for each kind of wish that waits.

-- name: pick_any
with wanted as (
    select w.*, array(select jsonb_array_elements_text(w.tags)) as all_tags
    from unnest($1::text[], $2::int[], $3::jsonb[]) with ordinality as w(workspace_id, most, tags, wish)
), picked as (
    select w.wish, p.run_id from wanted w cross join lateral (
        select q.run_id from eng_runs q
        where q.workspace_id = w.workspace_id and q.state = 'queued' {tags} {free}
        order by q.priority desc, q.created_event
        limit w.most for update skip locked
    ) p
)
{reserve}

-- name: pick_rooms
-- $4: rooms.
with wanted as (
    select w.*, array(select jsonb_array_elements_text(w.tags)) as all_tags
    from unnest($1::text[], $2::int[], $3::jsonb[], $4::jsonb[])
        with ordinality as w(workspace_id, most, tags, rooms, wish)
), found as (
    select w.wish, w.most, p.* from wanted w
    cross join lateral (select jsonb_array_elements_text(w.rooms) as room_id) m
    cross join lateral (
        select q.run_id, q.priority, q.created_event from eng_runs q
        where q.workspace_id = w.workspace_id and q.room_id = m.room_id and q.state = 'queued' {tags} {free}
        order by q.priority desc, q.created_event
        limit w.most for update skip locked
    ) p
), picked as (
    select wish, run_id from (
        select *, row_number() over (partition by wish order by priority desc, created_event) as place from found
    ) ranked where place <= most
)
{reserve}

-- name: pick_handlers
-- $4: rooms or null; $5: handlers.
with wanted as (
    select w.*, array(select jsonb_array_elements_text(w.tags)) as all_tags
    from unnest($1::text[], $2::int[], $3::jsonb[], $4::jsonb[], $5::jsonb[])
        with ordinality as w(workspace_id, most, tags, rooms, handlers, wish)
), found as (
    select w.wish, w.most, p.* from wanted w
    cross join lateral (select jsonb_array_elements_text(w.handlers) as handler) m
    cross join lateral (
        select q.run_id, q.priority, q.created_event from eng_runs q
        where q.workspace_id = w.workspace_id and q.handler = m.handler and q.state = 'queued'
            and (w.rooms is null or w.rooms ? q.room_id) {tags} {free}
        order by q.priority desc, q.created_event
        limit w.most for update skip locked
    ) p
), picked as (
    select wish, run_id from (
        select *, row_number() over (partition by wish order by priority desc, created_event) as place from found
    ) ranked where place <= most
)
{reserve}

-- name: free
-- No switch keeps the run q of the wish w in the queue, and no approval of its is on hold.
and not exists (select from eng_switches s where s.workspace_id = w.workspace_id and s.scope = 'workspace')
        and not exists (
            select from eng_switches s where s.workspace_id = w.workspace_id and s.scope = 'room' and s.target = q.room_id
        )
        and not exists (select from eng_holds h where h.run_id = q.run_id)

-- name: tags
-- All tags that are asked for.
and q.tags <> '{}' and q.tags @> w.all_tags

-- name: reserve
-- The tail of the statements above. The event tells what the run is about; it is not kept twice.
update eng_runs r set state = 'reserved', due_at = clock_timestamp() + interval '6 seconds'
from picked p
join eng_runs o on o.run_id = p.run_id
join evt_events e on e.event_id = o.created_event
where r.run_id = p.run_id
returning p.wish, r.run_id, r.workspace_id, r.room_id, r.priority, r.created_event, r.version, clock_timestamp() as now,
    e.thread_id, e.correlation_id, e.content

-- name: give_back
-- Reservations that were not used.
update eng_runs set state = 'queued', due_at = null where run_id = any($1::text[]) and state = 'reserved'

-- name: by_key
-- Runs that are held by claims with these idempotency keys.
select r.claim_key, r.run_id, r.workspace_id, r.room_id, r.version, clock_timestamp() as now,
    e.thread_id, e.correlation_id, e.content
from unnest($1::text[], $2::text[]) as k(workspace_id, claim_key)
join eng_runs r on r.workspace_id = k.workspace_id and r.claim_key = k.claim_key and r.state = 'held'
join evt_events e on e.event_id = r.created_event

-- name: about
-- One run, as a claim tells of it, whatever became of it.
select e.run_id, e.workspace_id, e.room_id, e.thread_id, e.correlation_id, e.content
from evt_events e where e.entity_id = $1 and e.entity_version = 1

-- name: behind
-- Streams of some workspaces that were taken further than the tables know.
select s.stream_type, s.stream_id, coalesce(c.seq, 0) as after, s.seq as upto
from evt_stream_heads s
left join eng_checkpoints c on c.stream_type = s.stream_type and c.stream_id = s.stream_id
where s.workspace_id = any($1::text[]) and s.seq > coalesce(c.seq, 0)
    and not exists (select from eng_parked p where p.stream_type = s.stream_type and p.stream_id = s.stream_id)
