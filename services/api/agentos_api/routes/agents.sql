-- name: list_agents
-- A page of a workspace's agents, newest first, those whose name or id contains a text. One row of the gate always comes.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select agent_id, workspace_id, principal_id, display_name, created_at, quarantined_at, quarantine_reason
    from proj_agents
    where workspace_id = $1 and (created_at, agent_id) < ($5::timestamptz, $6::text)
        and ($8::text is null or display_name ilike $8 or agent_id ilike $8)
    order by created_at desc, agent_id desc
    limit $7
) page on gate.reached

-- name: get_agent
-- An agent as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, agent.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'agent' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_agents agent on agent.agent_id = $2 and agent.workspace_id = $1
