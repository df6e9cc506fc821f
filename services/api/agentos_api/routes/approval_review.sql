-- name: one
-- What others are compared with, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, approval.entity_version, approval.action, approval.action_digest,
    approval.request, approval.requested_by_type, approval.requested_by_id, approval.room_id
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'approval' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_approvals approval on approval.approval_id = $2 and approval.workspace_id = $1

-- name: decided
-- The newest decisions on the same action, but for the approval itself.
select * from proj_approvals
where workspace_id = $1 and action = $3 and approval_id <> $2 and decision in ('approve', 'deny')
order by updated_at desc
limit 200

-- name: requested
-- How an approval was asked for.
select * from evt_events where entity_id = $2 and entity_version = 1 and entity_type = 'approval' and workspace_id = $1

-- name: asked
-- The decision that led to it: the last on exactly this, of the thousand in the day before.
select * from (
    select * from evt_events
    where workspace_id = $1 and event_type = 'policy.decided' and recorded_at <= $2 and recorded_at > $2 - interval '1 day'
    order by recorded_at desc, event_id desc
    limit 1000
) lately
where $3 <> '' and strpos(content, $3) > 0
order by recorded_at desc, event_id desc
limit 1

-- name: action
-- What users registered of an action.
select * from proj_actions where workspace_id = $1 and action_type collate "C" = $2

-- name: chain
-- A capability and those that it was handed on from, the first one first.
with recursive chain as (
    select * from proj_capabilities where workspace_id = $1 and token_id = $2
    union all
    select parent.* from proj_capabilities parent
    join chain child on parent.token_id = child.parent_token_id and parent.workspace_id = child.workspace_id
)
select token_id, granted_by_principal_id, issued_to_principal_id, valid_until, revoked_at from chain order by depth
