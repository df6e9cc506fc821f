-- name: near
-- A page of the approvals whose time comes soon, or has come.
select workspace_id, approval_id, due_at from proj_approvals
where due_at <= $1 and (due_at, approval_id) > ($2, $3)
order by due_at, approval_id
limit $4
