-- name: near
-- Approvals whose time comes soon, or has come.
select workspace_id, approval_id, due_at from proj_approvals where due_at <= $1 order by due_at limit $2
