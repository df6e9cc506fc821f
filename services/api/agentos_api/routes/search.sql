-- name: search_text
-- A page of a workspace's messages that contain a text, last changed first. $6 is a LIKE pattern, already escaped.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select
        message_id as doc_id, workspace_id, room_id, thread_id, 'message' as doc_type, left(content_md, $5) as content_text,
        lang, updated_at
    from proj_messages
    where
        workspace_id = $1
        and content_md ilike $6
        and ($7::text is null or room_id = $7)
        and ($8::text is null or thread_id = $8)
        and (updated_at, message_id) < ($9::timestamptz, $10::text)
    order by updated_at desc, message_id desc
    limit $11
) page on gate.reached

-- name: search_words
-- The same for words: $12 is what a web search takes, and whatever fits it fits one of the LIKE patterns $6, which narrow
-- it down by the index. A tsvector holds 1 MB, hence the bound.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select
        message_id as doc_id, workspace_id, room_id, thread_id, 'message' as doc_type, left(content_md, $5) as content_text,
        lang, updated_at
    from proj_messages
    where
        workspace_id = $1
        and content_md ilike any($6::text[])
        and to_tsvector('simple', left(content_md, 200000)) @@ websearch_to_tsquery('simple', $12)
        and ($7::text is null or room_id = $7)
        and ($8::text is null or thread_id = $8)
        and (updated_at, message_id) < ($9::timestamptz, $10::text)
    order by updated_at desc, message_id desc
    limit $11
) page on gate.reached
