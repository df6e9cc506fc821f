-- name: columns
-- What a run's row is made of, besides its lease.
run_id, workspace_id, room_id, thread_id, experiment_id, status, title, goal, input, output, error, tags, claim_token,
claimed_by_actor_id, created_at, started_at, ended_at, updated_at, correlation_id, last_event_id, attempt_no, max_attempts,
priority, timeout_s, zone, stream_seq

-- name: list_runs
-- A page of runs, last changed first: one short scan of an index for each status asked for ($5), merged.
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select run.*, lease.lease_expires_at, lease.lease_heartbeat_at
    from (
        select found.*
        from unnest($5::text[]) asked(status)
        cross join lateral (
            select {columns} from proj_runs
            where
                {served}
                and status = asked.status
                and (updated_at, stream_seq, run_id) < ($6::timestamptz, $7::bigint, $8::text)
                and workspace_id = $1
                and ($10::text is null or room_id = $10)
                and ($11::text is null or experiment_id = $11)
            order by updated_at desc, stream_seq desc, run_id desc
            limit $9
        ) found
        order by found.updated_at desc, found.stream_seq desc, found.run_id desc
        limit $9
    ) run
    left join eng.eng_leases_public lease on lease.run_id = run.run_id and lease.claim_token = run.claim_token
    order by run.updated_at desc, run.stream_seq desc, run.run_id desc
) page on gate.reached

-- name: get_run
-- A run as projected, beside the version that the store holds. No row: the store does not know it.
select store.entity_version as store_version, run.*, lease.lease_expires_at, lease.lease_heartbeat_at
from (
    select entity_version from evt_events
    where entity_id = $2 and entity_type = 'run' and workspace_id = $1
    order by entity_version desc
    limit 1
) store
left join proj_runs run on run.run_id = $2 and run.workspace_id = $1
left join eng.eng_leases_public lease on lease.run_id = run.run_id and lease.claim_token = run.claim_token

-- name: gate
-- Whether the position is reached, and whether the run is known and what happened in it is projected.
select
    $3::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $4 and stream_id = $5), 0) >= $3 as reached,
    exists (
        select from evt_events
        where entity_id = $2 and entity_version = 1 and entity_type = 'run' and workspace_id = $1
    ) as known,
    {current} as projected

-- name: list_attempts
-- A page of a run's attempts in order, and whether the run is known and projected.
select gate.reached, gate.known, gate.projected, page.*
from ({gate}) gate
left join lateral (
    select run_attempt_id, run_id, workspace_id, room_id, attempt_no, claim_token, claimed_by_actor_id, actor_principal_id,
        engine_id, claimed_at, released_at, release_reason, created_at, updated_at
    from proj_run_attempts
    where run_id = $2 and attempt_no > $6::bigint
    order by attempt_no
    limit $7
) page on gate.reached and gate.projected

-- name: list_steps
-- A page of a run's steps, oldest first, and whether the run is known and projected.
select gate.reached, gate.known, gate.projected, page.*
from ({gate}) gate
left join lateral (
    select step_id, run_id, workspace_id, room_id, thread_id, kind, status, title, input, output, error, created_at,
        updated_at, last_event_id, created_seq
    from proj_steps
    where run_id = $2 and (created_at, created_seq) > ($6::timestamptz, $7::bigint)
    order by created_at, created_seq
    limit $8
) page on gate.reached and gate.projected
