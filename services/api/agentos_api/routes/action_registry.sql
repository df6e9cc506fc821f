-- name: list_actions
-- A page of the actions that a workspace registered or edited, by type. One row of the gate always comes.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select action_type, side_effect, reversible, zone_required, requires_pre_approval, post_review_required, undo_action,
        undo_window_s, idempotency_key, metadata, undo_verified, created_at, updated_at
    from proj_actions
    where workspace_id = $1 and action_type collate "C" > $5
    order by action_type collate "C"
    limit $6
) page on gate.reached
