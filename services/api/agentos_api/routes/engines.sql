-- name: list_engines
-- A page of a workspace's engines, newest first. One row of the gate always comes.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select engine_id, workspace_id, engine_name, actor_id, principal_id, metadata, status, created_at, updated_at,
        deactivated_at, deactivated_reason
    from proj_engines
    where workspace_id = $1 and (created_at, engine_id) < ($5::timestamptz, $6::text)
    order by created_at desc, engine_id desc
    limit $7
) page on gate.reached

-- name: get_engine
-- An engine as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, engine.*
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'engine' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_engines engine on engine.engine_id = $2 and engine.workspace_id = $1

-- name: list_tokens
-- A page of an engine's tokens, newest first, and whether the engine is known and all of it projected.
select gate.reached, gate.known, gate.projected, page.*
from (
    select
        $3::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $4 and stream_id = $5), 0) >= $3 as reached,
        store.entity_version is not null as known,
        coalesce(engine.entity_version >= store.entity_version, false) as projected
    from (
        select max(entity_version) as entity_version from evt_events
        where entity_id = $2 and entity_type = 'engine' and workspace_id = $1
    ) store
    left join proj_engines engine on engine.engine_id = $2 and engine.workspace_id = $1
) gate
left join lateral (
    select token_id, workspace_id, engine_id, principal_id, capability_token_id, token_label, issued_at,
        null::timestamptz as last_seen_at, valid_until, revoked_at, revoked_reason, created_by_principal_id, stream_seq
    from proj_engine_tokens
    where engine_id = $2 and stream_seq < $6::bigint
    order by stream_seq desc
    limit $7
) page on gate.reached and gate.projected
