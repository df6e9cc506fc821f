-- name: get_switches
-- A workspace's engaged switches, the newest first, beside the versions that the store and the projection have.
select store.version as store_version, projected.version as entity_version, switch.*
from (
    select coalesce(max(entity_version), 0) as version from evt_events
    where entity_id = $2 and entity_type = 'kill_switch' and workspace_id = $1
) store
cross join (
    select coalesce(max(entity_version), 0) as version from proj_kill_switches where workspace_id = $1
) projected
left join lateral (
    select scope, nullif(target, '') as target, reason, actor_type, actor_id, changed_at, stream_seq
    from proj_kill_switches
    where workspace_id = $1 and engaged
) switch on true
order by switch.stream_seq desc

-- name: acts
-- What was done or allowed in a workspace since a time, the newest first, of each type at most so many.
select act.*
from unnest($2::text[]) as wanted(event_type)
cross join lateral (
    select * from evt_events
    where workspace_id = $1 and event_type = wanted.event_type and recorded_at >= $3
        and (event_type <> 'policy.decided' or evt_events.data ->> 'decision' = 'allow')
    order by recorded_at desc, event_id desc
    limit $4
) act
order by act.recorded_at desc, act.event_id desc

-- name: external_actions
-- Actions that users registered as leaving the machine.
select action_type from proj_actions where workspace_id = $1 and side_effect = 'external_write'

-- name: stopped_runs
-- Runs that switches ask to stop: those that run, and those that have come to an end or back into the queue since. A switch
-- of a tool asks the runs that had called it and got nothing back yet. The least recent requests first. One row of the gate
-- always comes.
with switches as materialized (
    select scope, target, changed_at from proj_kill_switches
    where workspace_id = $1 and engaged and scope in ('workspace', 'room', 'agent', 'tool')
),
candidates as (
    select run_id, room_id, status, started_at, ended_at, updated_at, stop_acknowledged_at from proj_runs
    where workspace_id = $1 and status = 'running'
    union all
    select run_id, room_id, status, started_at, ended_at, updated_at, stop_acknowledged_at from proj_runs
    where workspace_id = $1 and status in ('queued', 'succeeded', 'failed', 'cancelled')
        and updated_at >= (select min(changed_at) from switches) and started_at is not null
)
select gate.reached, page.*
from (
    select $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2 as reached
) gate
left join lateral (
    select
        run.run_id, run.room_id, run.status, held.actor_id, asked.since as stop_requested_at,
        case
            when run.status <> 'running' then coalesce(run.ended_at, run.updated_at)
            when run.stop_acknowledged_at >= asked.since then run.stop_acknowledged_at
            when asked.all_ended then asked.last_ended_at
        end as stop_observed_at
    from candidates run
    left join lateral (
        select claimed_by_actor_id as actor_id, actor_principal_id as principal_id from proj_run_attempts
        where run_id = run.run_id
        order by attempt_no desc
        limit 1
    ) held on true
    cross join lateral (
        select
            min(s.changed_at) as since, max(called.ended_at) as last_ended_at,
            bool_and(s.scope = 'tool' and called.all_ended) as all_ended
        from switches s
        left join lateral (
            select max(call.ended_at) as ended_at, bool_and(call.ended_at is not null) as all_ended
            from proj_tool_calls call
            where s.scope = 'tool' and call.run_id = run.run_id and call.tool_name = s.target
                and call.started_at <= s.changed_at and (call.ended_at is null or call.ended_at >= s.changed_at)
        ) called on true
        where s.scope = 'workspace' or (s.scope = 'room' and s.target = run.room_id)
            or (s.scope = 'agent' and s.target in (held.actor_id, held.principal_id))
            or (s.scope = 'tool' and called.all_ended is not null)
    ) asked
    where asked.since is not null and (run.status = 'running' or run.updated_at >= asked.since)
    order by asked.since, run.run_id
    limit $5
) page on gate.reached
