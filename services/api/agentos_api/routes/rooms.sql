-- name: list_rooms
-- A page of a workspace's rooms, last changed first. One row of the gate always comes, with or without rooms.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select room_id, workspace_id, mission_id, title, topic, room_mode, default_lang, tool_policy_ref, created_at, updated_at
    from proj_rooms
    where workspace_id = $1 and (updated_at, room_id) < ($5::timestamptz, $6::text)
        and ($8::text[] is null or room_id = any($8))
    order by updated_at desc, room_id desc
    limit $7
) page on gate.reached

-- name: get_room
-- A room as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, room.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'room' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_rooms room on room.room_id = $2 and room.workspace_id = $1
