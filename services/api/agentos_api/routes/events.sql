-- name: columns
-- What an event is made of: all of evt_events.
event_id, event_type, event_version, occurred_at, recorded_at, workspace_id, mission_id, room_id, thread_id, run_id, step_id,
actor_type, actor_id, actor_principal_id, zone, stream_type, stream_id, stream_seq, entity_type, entity_id, entity_version,
correlation_id, causation_id, redaction_level, contains_secrets, idempotency_key, prev_event_hash, event_hash, content, salt,
data_digest

-- name: filters
-- What every page applies besides the one condition that its index serves. An absent filter is null.
workspace_id = $1
and ($2::text is null or room_id = $2)
and ($3::text is null or thread_id = $3)
and ($4::text is null or run_id = $4)
and ($5::text is null or step_id = $5)
and ($6::text is null or correlation_id = $6)
and ($7::text[] is null or event_type = any($7))
and ($8::text is null or evt_events.data ->> 'agent_id' = $8)
and (
    $9::text is null or actor_principal_id = $9 or evt_events.data ->> 'principal_id' = $9
    or evt_events.data ->> 'issued_to_principal_id' = $9
)

-- name: by_stream
-- A page of one stream, in stream order.
select {columns} from evt_events
where stream_type = $11 and stream_id = $12 and stream_seq > $13 and stream_seq < $14 and {filters}
order by stream_seq {direction}
limit $10

-- name: by_stream_and_time
-- The same between two times ($15, $16). In a stream, time goes the way of stream_seq, but for clocks that differ: so
-- where to begin and to end is found by halving, with a margin, and the times themselves are compared then.
with recursive first(low, high) as (
    select $13::bigint, least($14::bigint, (select seq + 1 from evt_stream_heads where stream_type = $11 and stream_id = $12))
    union all
    select
        case when probe.recorded_at < $15::timestamptz - $17::interval then half.seq else first.low end,
        case when probe.recorded_at < $15::timestamptz - $17::interval then first.high else half.seq end
    from first
    cross join lateral (select first.low + (first.high - first.low) / 2 as seq) half
    cross join lateral (
        select recorded_at from evt_events where stream_type = $11 and stream_id = $12 and stream_seq = half.seq
    ) probe
    where $15 is not null and first.high - first.low > 1
),
last(low, high) as (
    select $13::bigint, least($14::bigint, (select seq + 1 from evt_stream_heads where stream_type = $11 and stream_id = $12))
    union all
    select
        case when probe.recorded_at < $16::timestamptz + $17::interval then half.seq else last.low end,
        case when probe.recorded_at < $16::timestamptz + $17::interval then last.high else half.seq end
    from last
    cross join lateral (select last.low + (last.high - last.low) / 2 as seq) half
    cross join lateral (
        select recorded_at from evt_events where stream_type = $11 and stream_id = $12 and stream_seq = half.seq
    ) probe
    where $16 is not null and last.high - last.low > 1
)
select {columns} from evt_events
where
    stream_type = $11
    and stream_id = $12
    and stream_seq > (select max(low) from first)
    and stream_seq < (select min(high) from last)
    and ($15 is null or recorded_at > $15)
    and ($16 is null or recorded_at < $16)
    and {filters}
order by stream_seq {direction}
limit $10

-- name: between
-- The times that were asked for, and the place where the page before ended.
(recorded_at, event_id) > ($11::timestamptz, $12::uuid) and (recorded_at, event_id) < ($13::timestamptz, $14::uuid)

-- name: by_column
-- A page of the events with one value in one indexed column, in order of time.
select {columns} from evt_events
where {column} = {value} and {between} and {filters}
order by recorded_at {direction}, event_id {direction}
limit $10

-- name: by_principal
-- A page of what a principal did and what was done to it, in order of time: a merge of three short index scans.
with found as (
    (
        select recorded_at, event_id from evt_events
        where actor_principal_id = $9 and {between} and {filters}
        order by recorded_at {direction}, event_id {direction}
        limit $10
    )
    union
    (
        select recorded_at, event_id from evt_events
        where strpos(content, '"principal_id":') > 0 and evt_events.data ->> 'principal_id' = $9
            and {between} and {filters}
        order by recorded_at {direction}, event_id {direction}
        limit $10
    )
    union
    (
        select recorded_at, event_id from evt_events
        where strpos(content, '"issued_to_principal_id":') > 0 and evt_events.data ->> 'issued_to_principal_id' = $9
            and {between} and {filters}
        order by recorded_at {direction}, event_id {direction}
        limit $10
    )
    order by recorded_at {direction}, event_id {direction}
    limit $10
)
select {columns} from evt_events
where event_id = any (array(select event_id from found)) -- an array, so that no plan can join the whole store to it
order by recorded_at {direction}, event_id {direction}

-- name: by_types
-- A page of a workspace's events of some types ($2; null: of all it has), in order of time: a merge of one short index scan
-- for each type. The types it has are found by skipping through the index, one probe each.
with recursive present (event_type) as (
    (
        select event_type from evt_events
        where workspace_id = $1 and $2::text[] is null
        order by event_type
        limit 1
    )
    union all
    select (
        select event_type from evt_events
        where workspace_id = $1 and event_type > present.event_type
        order by event_type
        limit 1
    )
    from present
    where present.event_type is not null
),
found as (
    select event.recorded_at, event.event_id
    from (
        select event_type from present where event_type is not null
        union all
        select distinct unnest($2::text[])
    ) kind
    cross join lateral (
        select recorded_at, event_id from evt_events
        where
            workspace_id = $1
            and event_type = kind.event_type
            and (recorded_at, event_id) > ($3::timestamptz, $4::uuid)
            and (recorded_at, event_id) < ($5::timestamptz, $6::uuid)
        order by recorded_at {direction}, event_id {direction}
        limit $7
    ) event
    order by event.recorded_at {direction}, event.event_id {direction}
    limit $7
)
select {columns} from evt_events
where event_id = any (array(select event_id from found)) -- an array, so that no plan can join the whole store to it
order by recorded_at {direction}, event_id {direction}

-- name: by_event_id
select {columns} from evt_events where event_id = $1 and workspace_id = $2
