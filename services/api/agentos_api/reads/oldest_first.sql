-- name: page
-- A page of a workspace's rows of one read model that pass all filters, oldest first. One row of the gate always comes.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select {columns}, {place} from {table}
    where {served} and workspace_id = $1 and ({time}, {place}, {key}) > ($5::timestamptz, $6::bigint, $7::text){filters}
    order by {time}, {place}, {key}
    limit $8
) page on gate.reached
