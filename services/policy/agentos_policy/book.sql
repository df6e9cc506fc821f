-- name: load
-- The life of everything in a workspace that decisions depend on: of approvals only those that still allow something.
with live as (
    select d.entity_id
    from evt_events d
    where d.workspace_id = $1 and d.event_type = 'approval.decided' and d.data ->> 'decision' = 'approve'
        and not exists (
            select from evt_events e
            where e.entity_id = d.entity_id and e.entity_version > d.entity_version and e.event_type = any($3::text[])
        )
),
other as (
    select distinct entity_id from evt_events where workspace_id = $1 and event_type = any($2::text[])
)
select e.* from evt_events e
where e.entity_id in (select entity_id from live union select entity_id from other)
order by e.entity_id, e.entity_version

-- name: heads
select stream_type, stream_id, seq from evt_stream_heads where workspace_id = $1

-- name: moved
-- How far some streams have come, and what has changed in them since then. The fence keeps the planner on the short range
-- of the stream: by type it would read those of all streams, of all workspaces.
select h.stream_type, h.stream_id, h.seq, changed.ids
from unnest($1::text[], $2::text[], $3::bigint[]) as known(stream_type, stream_id, seq)
join evt_stream_heads h using (stream_type, stream_id)
left join lateral (
    select array_agg(distinct e.entity_id) as ids
    from (
        select entity_id, event_type
        from evt_events
        where stream_type = h.stream_type and stream_id = h.stream_id and stream_seq > known.seq
        offset 0
    ) e
    where e.event_type = any($4::text[])
) changed on h.seq > known.seq

-- name: lately
-- What has changed anywhere in a workspace in the last seconds: further back than any append takes to commit.
select entity_id, max(entity_version) as entity_version
from evt_events
where workspace_id = $1 and event_type = any($2::text[])
    and recorded_at > statement_timestamp() - make_interval(secs => $3)
group by entity_id

-- name: zones
-- Zones of rooms and runs, which never change.
select entity_id, zone from evt_events where entity_id = any($1::text[]) and entity_version = 1
