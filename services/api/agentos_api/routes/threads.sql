-- name: list_threads
-- A page of a room's threads, last changed first, and whether the room is known and projected.
select gate.reached, gate.known, gate.projected, page.*
from (
    select
        $3::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $4 and stream_id = $5), 0) >= $3 as reached,
        exists (
            select from evt_events
            where entity_id = $2 and entity_version = 1 and entity_type = 'room' and workspace_id = $1
        ) as known,
        exists (select from proj_rooms where room_id = $2 and workspace_id = $1) as projected
) gate
left join lateral (
    select thread_id, workspace_id, room_id, title, status, created_at, updated_at, last_event_id, stream_seq
    from proj_threads
    where room_id = $2 and (updated_at, stream_seq) < ($6::timestamptz, $7::bigint)
    order by updated_at desc, stream_seq desc
    limit $8
) page on gate.reached and gate.projected

-- name: get_thread
-- A thread as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, thread.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'thread' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_threads thread on thread.thread_id = $2 and thread.workspace_id = $1
