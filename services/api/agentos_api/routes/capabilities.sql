-- name: list_capabilities
-- A page of a principal's capabilities, newest first. One row of the gate always comes.
select gate.reached, page.*
from (
    select $3::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $4 and stream_id = $5), 0) >= $3 as reached
) gate
left join lateral (
    select token_id, workspace_id, issued_to_principal_id, granted_by_principal_id, parent_token_id, scopes, valid_until,
        revoked_at, created_at, stream_seq
    from proj_capabilities
    where workspace_id = $1 and issued_to_principal_id = $2 and (created_at, stream_seq) < ($6::timestamptz, $7::bigint)
    order by created_at desc, stream_seq desc
    limit $8
) page on gate.reached

-- name: list_delegations
-- A page of what a principal handed on and was handed on, newest first: two ranges, merged. One row of the gate always comes.
select gate.reached, page.*
from (
    select $3::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $4 and stream_id = $5), 0) >= $3 as reached
) gate
left join lateral (
    select
        'cedg_' || replace(token_id, '-', '') as edge_id, workspace_id, parent_token_id, token_id as child_token_id,
        granted_by_principal_id, issued_to_principal_id, depth, created_at,
        granted_by_principal_id as parent_token_owner_principal_id,
        issued_to_principal_id as child_token_owner_principal_id, stream_seq
    from (
        (
            select * from proj_capabilities
            where workspace_id = $1 and granted_by_principal_id = $2 and parent_token_id is not null
                and (created_at, stream_seq) < ($6::timestamptz, $7::bigint)
            order by created_at desc, stream_seq desc
            limit $8
        )
        union all
        (
            select * from proj_capabilities
            where workspace_id = $1 and issued_to_principal_id = $2 and parent_token_id is not null
                and granted_by_principal_id <> $2 and (created_at, stream_seq) < ($6::timestamptz, $7::bigint)
            order by created_at desc, stream_seq desc
            limit $8
        )
    ) either
    order by created_at desc, stream_seq desc
    limit $8
) page on gate.reached
