-- name: list_messages
-- A page of a thread's messages, newest first, and whether the thread is known and projected.
select gate.reached, gate.known, gate.projected, page.*
from (
    select
        $3::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $4 and stream_id = $5), 0) >= $3 as reached,
        exists (
            select from evt_events
            where entity_id = $2 and entity_version = 1 and entity_type = 'thread' and workspace_id = $1
        ) as known,
        exists (select from proj_threads where thread_id = $2 and workspace_id = $1) as projected
) gate
left join lateral (
    select
        message_id, workspace_id, room_id, thread_id, sender_type, sender_id, content_md, lang, parent_message_id,
        run_id, step_id, labels, created_at, updated_at, stream_seq
    from proj_messages
    where thread_id = $2 and (created_at, stream_seq) < ($6::timestamptz, $7::bigint)
    order by created_at desc, stream_seq desc
    limit $8
) page on gate.reached and gate.projected

-- name: get_message
-- A message as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, message.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'message' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_messages message on message.message_id = $2 and message.workspace_id = $1
