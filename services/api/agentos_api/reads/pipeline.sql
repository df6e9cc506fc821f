-- name: round
-- Entities whose place in the pipeline something changed at or before $5, found by walking back what changed last: $6 rows
-- of each kind of thing that a place follows from. Above `floor` (null: everywhere) none is missing, since an entity's
-- time is that of one of these things. One row always comes.
with run_list as (
    select run.*
    from unnest($7::text[]) known(status)
    cross join lateral (
        select run_id, experiment_id, updated_at from proj_runs
        where workspace_id = $1 and status = known.status and updated_at <= $5
        order by updated_at desc
        limit $6
    ) run
    order by run.updated_at desc
    limit $6
),
experiment_list as (
    select experiment_id, updated_at from proj_experiments
    where workspace_id = $1 and updated_at <= $5
    order by updated_at desc
    limit $6
),
evidence_list as (
    select run_id, created_at from proj_evidence
    where workspace_id = $1 and created_at <= $5
    order by created_at desc
    limit $6
),
scorecard_list as (
    select scorecard_id, run_id, experiment_id, created_at from proj_scorecards
    where workspace_id = $1 and created_at <= $5
    order by created_at desc
    limit $6
),
incident_list as (
    select run_id, updated_at from proj_incidents
    where workspace_id = $1 and updated_at <= $5
    order by updated_at desc
    limit $6
),
approval_list as (
    select approval.*
    from unnest(array['pending', 'held']) undecided(status)
    cross join lateral (
        select approval_id, run_id, updated_at from proj_approvals
        where workspace_id = $1 and status = undecided.status and updated_at <= $5
        order by updated_at desc
        limit $6
    ) approval
    order by approval.updated_at desc
    limit $6
),
gate as (
    select
        $2::bigint = 0 or coalesce((select seq from proj_checkpoints where stream_type = $3 and stream_id = $4), 0) >= $2
            as reached,
        greatest(
            (select case when count(*) = $6 then min(updated_at) end from run_list),
            (select case when count(*) = $6 then min(updated_at) end from experiment_list),
            (select case when count(*) = $6 then min(created_at) end from evidence_list),
            (select case when count(*) = $6 then min(created_at) end from scorecard_list),
            (select case when count(*) = $6 then min(updated_at) end from incident_list),
            (select case when count(*) = $6 then min(updated_at) end from approval_list)
        ) as floor
),
touched_runs as materialized (
    select r.* from (
        select run_id from run_list
        union select run_id from evidence_list
        union select run_id from scorecard_list where run_id is not null
        union select run_id from incident_list where run_id is not null
    ) touched
    join proj_runs r on r.run_id = touched.run_id and r.workspace_id = $1
),
touched_approvals as (
    select a.*
    from (
        select approval_id from approval_list
        union
        select a.approval_id
        from touched_runs r
        join proj_approvals a on a.run_id = r.run_id and a.status in ('pending', 'held')
    ) touched
    join proj_approvals a on a.approval_id = touched.approval_id and a.workspace_id = $1
),
touched_experiments as (
    select x.* from (
        select experiment_id from experiment_list
        union select experiment_id from scorecard_list where experiment_id is not null
        union select experiment_id from touched_runs where experiment_id is not null
    ) touched
    join proj_experiments x on x.experiment_id = touched.experiment_id and x.workspace_id = $1
),
entities as (
    select
        'run' as entity_type, r.run_id as entity_id, r.title, r.status, r.room_id, r.thread_id, r.correlation_id,
        r.updated_at as own_updated_at, r.last_event_id, r.experiment_id, x.status as experiment_status, r.run_id,
        r.status as run_status, r.updated_at as run_updated_at, scorecard.scorecard_id, null as approval_id
    from touched_runs r
    left join proj_experiments x on x.experiment_id = r.experiment_id
    left join lateral (
        select scorecard_id from proj_scorecards
        where run_id = r.run_id
        order by created_at desc, stream_seq desc, scorecard_id desc
        limit 1
    ) scorecard on true
    union all
    select
        'experiment', x.experiment_id, x.title, x.status, x.room_id, null, x.correlation_id, x.updated_at, x.last_event_id,
        x.experiment_id, x.status, r.run_id, r.status, r.updated_at, scorecard.scorecard_id, null
    from touched_experiments x
    left join lateral (
        select run_id, status, updated_at from proj_runs
        where experiment_id = x.experiment_id
        order by created_at desc, created_seq desc, run_id desc
        limit 1
    ) r on true
    left join lateral (
        select scorecard_id from (
            (
                select scorecard_id, created_at, stream_seq from proj_scorecards
                where experiment_id = x.experiment_id
                order by created_at desc, stream_seq desc, scorecard_id desc
                limit 1
            )
            union all
            (
                select scorecard_id, created_at, stream_seq from proj_scorecards
                where run_id = r.run_id
                order by created_at desc, stream_seq desc, scorecard_id desc
                limit 1
            )
        ) either
        order by created_at desc, stream_seq desc, scorecard_id desc
        limit 1
    ) scorecard on true
    union all
    select
        'scorecard', s.scorecard_id, s.template_key, s.decision, null, null, s.correlation_id, s.created_at, s.last_event_id,
        null, null, null, null, null, s.scorecard_id, null
    from scorecard_list
    join proj_scorecards s on s.scorecard_id = scorecard_list.scorecard_id
    where s.run_id is null and s.experiment_id is null
    union all
    select
        'approval', a.approval_id, coalesce(a.title, a.action), a.status, a.room_id, a.thread_id, a.correlation_id,
        a.updated_at, a.last_event_id, r.experiment_id, x.status, r.run_id, r.status, r.updated_at, scorecard.scorecard_id,
        a.approval_id
    from touched_approvals a
    left join proj_runs r on r.run_id = a.run_id and r.workspace_id = $1
    left join proj_experiments x on x.experiment_id = r.experiment_id
    left join lateral (
        select scorecard_id from proj_scorecards
        where run_id = r.run_id
        order by created_at desc, stream_seq desc, scorecard_id desc
        limit 1
    ) scorecard on true
)
select gate.reached, gate.floor, item.*
from gate
left join lateral (
    select
        e.*,
        greatest(e.own_updated_at, e.run_updated_at, evidence.created_at, scorecard.created_at, incident.updated_at) as updated_at,
        evidence.evidence_id, evidence.run_id as evidence_run_id, evidence.run_status as evidence_run_status,
        scorecard.decision, scorecard.run_id as scorecard_run_id, scorecard.evidence_id as scorecard_evidence_id,
        incident.incident_id, incident.status as incident_status,
        approval.approval_id as linked_approval_id, approval.status as approval_status
    from entities e
    left join proj_evidence evidence on evidence.run_id = e.run_id
    left join proj_scorecards scorecard on scorecard.scorecard_id = e.scorecard_id
    left join lateral (
        select incident_id, status, updated_at from proj_incidents
        where run_id = e.run_id
        order by status = 'open' desc, updated_at desc, stream_seq desc, incident_id desc
        limit 1
    ) incident on true
    left join lateral (
        select approval_id, status from proj_approvals where approval_id = e.approval_id
        union all
        (
            select approval_id, status from proj_approvals
            where run_id = e.run_id and e.approval_id is null and status in ('pending', 'held')
            order by updated_at desc, stream_seq desc, approval_id desc
            limit 1
        )
    ) approval on true
) item on gate.reached and item.updated_at <= $5 and item.updated_at > coalesce(gate.floor, '-infinity')

-- name: watermark
-- The newest event that the pipeline of a workspace reflects.
select last_event_id
from (
    select newest.*
    from unnest($2::text[]) known(status)
    cross join lateral (
        select updated_at, last_event_id from proj_runs
        where workspace_id = $1 and status = known.status
        order by updated_at desc, stream_seq desc
        limit 1
    ) newest
    union all
    (select updated_at, last_event_id from proj_experiments where workspace_id = $1 order by updated_at desc limit 1)
    union all
    (select created_at, last_event_id from proj_evidence where workspace_id = $1 order by created_at desc limit 1)
    union all
    (select created_at, last_event_id from proj_scorecards where workspace_id = $1 order by created_at desc limit 1)
    union all
    (select updated_at, last_event_id from proj_incidents where workspace_id = $1 order by updated_at desc limit 1)
    union all
    (select updated_at, last_event_id from proj_approvals where workspace_id = $1 order by updated_at desc limit 1)
) newest
order by updated_at desc, last_event_id desc
limit 1
