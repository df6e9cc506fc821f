-- name: page
-- Events of one stream after a place, up to a number and (but for the last) up to a size.
select event_id, event_type, event_version, occurred_at, recorded_at, workspace_id, mission_id, room_id, thread_id,
       run_id, step_id, actor_type, actor_id, actor_principal_id, zone, stream_type, stream_id, stream_seq, entity_type,
       entity_id, entity_version, correlation_id, causation_id, redaction_level, contains_secrets, idempotency_key,
       prev_event_hash, event_hash, content, salt, data_digest
from (
    select *, sum(octet_length(content)) over (order by stream_seq) - octet_length(content) as bytes_before
    from (
        select * from evt_events
        where stream_type = $1 and stream_id = $2 and stream_seq > $3
        order by stream_seq
        limit $4
    ) as first
) as page
where bytes_before < $5
order by stream_seq

-- name: head
select workspace_id, seq from evt_stream_heads where stream_type = $1 and stream_id = $2

-- name: heads
select stream_type, stream_id, seq
from unnest($1::text[], $2::text[]) as asked (stream_type, stream_id)
join evt_stream_heads using (stream_type, stream_id)
