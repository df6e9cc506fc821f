-- name: page
-- A page of a workspace's rows of one read model that pass all filters, oldest first. One row of the gate always comes.
select gate.reached, page.*
from (
    select
        ($2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2)
        and {current} as reached
) gate
left join lateral (
    select {columns}, {place} from {table}
    where {served} and workspace_id = $1 and ({time}, {place}, {key}) > ($5::timestamptz, $6::bigint, $7::text){filters}
    order by {time}, {place}, {key}
    limit $8
) page on gate.reached

-- name: current
-- Whether the read models hold the last that happened in a run or a step (in whose stream all of it is): then its list
-- is as new as the store, and who has just written there sees it.
coalesce(
    (
        select last.stream_seq <= coalesce(
            (select seq from proj_checkpoints where stream_type = last.stream_type and stream_id = last.stream_id), 0
        )
        from evt_events last
        where {column} = {value} and workspace_id = $1 and entity_type in ('run', 'step', 'tool_call', 'artifact')
        order by recorded_at desc, event_id desc
        limit 1
    ),
    true
)
