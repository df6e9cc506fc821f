-- name: append
-- The group commit, one statement and so one transaction: move the heads that the writer saw (in the order given, which
-- is sorted, so that two writers never lock crosswise), make new ones, keep the keys, insert events and their row of the outbox.
-- Anything not as the writer saw it aborts the whole statement. Heads that the events lean on are held as they are until the
-- commit, after those that move; one of a stream without events is made at 0, or somebody could begin that stream meanwhile.
with moved as (
    update evt_stream_heads h set seq = n.seq, hash = n.hash
    from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
        as n(stream_type, stream_id, expected, seq, hash)
    where h.stream_type = n.stream_type and h.stream_id = n.stream_id and h.seq = n.expected
    returning 1
), made as (
    insert into evt_stream_heads (stream_type, stream_id, workspace_id, seq, hash)
    select * from unnest($6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[])
    on conflict (stream_type, stream_id) do update set seq = excluded.seq, hash = excluded.hash
        where evt_stream_heads.seq = 0
    returning 1
), kept as (
    insert into evt_keys (workspace_id, kind, key, fingerprint, event_id, status, answer)
    select * from unnest($11::text[], $12::text[], $13::text[], $14::bytea[], $15::uuid[], $16::int[], $17::bytea[])
    on conflict do nothing
    returning 1
), stood as (
    select 1 from evt_stream_heads h
    join unnest($18::text[], $19::text[], $21::bigint[]) as n(stream_type, stream_id, expected)
        on h.stream_type = n.stream_type and h.stream_id = n.stream_id
    where h.seq = n.expected
    for share of h
), empty as (
    insert into evt_stream_heads (stream_type, stream_id, workspace_id, seq)
    select n.stream_type, n.stream_id, n.workspace_id, 0
    from unnest($18::text[], $19::text[], $20::text[], $21::bigint[]) as n(stream_type, stream_id, workspace_id, expected)
    where n.expected = 0
    on conflict do nothing
    returning 1
), inserted as (
    insert into evt_events (
        event_id, event_type, event_version, occurred_at, recorded_at, workspace_id, mission_id, room_id, thread_id,
        run_id, step_id, actor_type, actor_id, actor_principal_id, zone, stream_type, stream_id, stream_seq,
        entity_type, entity_id, entity_version, correlation_id, causation_id, redaction_level, contains_secrets,
        idempotency_key, prev_event_hash, content, salt, data_digest, event_hash
    )
    select * from unnest($22::evt_new_event[])
), queued as (
    insert into evt_outbox (event_ids, traceparents)
    select $23::uuid[], $24::text[] where cardinality($23::uuid[]) > 0
    returning position
)
select evt_require(
    (select count(*) from moved) = cardinality($1::text[])
    and (select count(*) from made) = cardinality($6::text[])
    and (select count(*) from kept) = cardinality($11::text[])
    and (select count(*) from stood) + (select count(*) from empty) = cardinality($18::text[])
) as held, (select position from queued) as position

-- name: heads
select stream_type, stream_id, seq, hash from evt_stream_heads
where (stream_type, stream_id) in (select * from unnest($1::text[], $2::text[]))

-- name: lock_heads
-- Sorted, so that two writers never wait for each other crosswise.
select stream_type, stream_id, seq, hash from evt_stream_heads
where (stream_type, stream_id) in (select * from unnest($1::text[], $2::text[]))
order by stream_type, stream_id
for update

-- name: keys
-- Answers given under these keys within the last day; older ones are as good as gone.
select workspace_id, kind, key, fingerprint, status, answer from evt_keys
where (workspace_id, kind, key) in (select * from unnest($1::text[], $2::text[], $3::text[]))
    and created_at > clock_timestamp() - interval '24 hours'

-- name: drop_old_keys
-- These keys, where a day has passed, so that they can be used anew.
delete from evt_keys
where (workspace_id, kind, key) in (select * from unnest($1::text[], $2::text[], $3::text[]))
    and created_at <= clock_timestamp() - interval '24 hours'

-- name: sweep_keys
-- Delete a bounded bite of the keys that a day has passed over; tells how many there were.
with gone as (
    delete from evt_keys
    where ctid = any(array(
        select ctid from evt_keys where created_at <= clock_timestamp() - interval '24 hours' limit 5000
    ))
    returning 1
)
select count(*) from gone
