-- name: table
create table {table} (
    approval_id       text        primary key,
    workspace_id      text        not null,
    room_id           text,
    thread_id         text,
    run_id            text,
    step_id           text,
    action            text        not null,
    status            text        not null,
    title             text,
    request           jsonb       not null,
    context           jsonb       not null,
    scope             jsonb       not null,
    expires_at        timestamptz,
    requested_by_type text        not null,
    requested_by_id   text        not null,
    requested_at      timestamptz not null,
    decided_by_type   text,
    decided_by_id     text,
    decided_at        timestamptz,
    decision          text,
    decision_reason   text,
    correlation_id    text        not null,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    zone              text        not null,
    action_digest     text,
    decide_by         timestamptz,
    wake_at           timestamptz,
    uses              int         not null,
    ended_at          timestamptz,
    superseded_by     text,
    edited_request    jsonb       not null,
    escalate_at       timestamptz,
    escalations       int         not null,
    required_approvals int       not null,
    votes             jsonb       not null,
    notified_at       timestamptz,
    seen_at           timestamptz,
    seen_by_id        text,
    delivered_at      timestamptz,
    consumed_at       timestamptz,
    due_at            timestamptz,
    entity_version    int         not null,
    stream_seq        bigint      not null,
    last_event_id     uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/approvals: a workspace's, a room's, those of a status; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, approval_id desc);
create index {table}_of_room on {table} (room_id, updated_at desc, approval_id desc) where room_id is not null;
create index {table}_of_status on {table} (workspace_id, status, updated_at desc, approval_id desc);
-- The pipeline: what a run waits for.
create index {table}_of_run on {table} (run_id, updated_at desc) where run_id is not null;
-- What was decided on the same action.
create index {table}_of_action on {table} (workspace_id, action, updated_at desc) where decision in ('approve', 'deny');
-- Whether an approval of exactly this was asked for.
create index {table}_of_digest on {table} (workspace_id, action_digest);
-- What time brings about by itself.
create index {table}_due on {table} (due_at, approval_id) where due_at is not null

-- name: requested
insert into {table} (
    approval_id, workspace_id, room_id, thread_id, run_id, step_id, action, status, title, request, context, scope,
    expires_at, requested_by_type, requested_by_id, requested_at, correlation_id, created_at, updated_at, zone,
    action_digest, decide_by, uses, edited_request, escalate_at, escalations, required_approvals, votes, due_at,
    entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.run_id, e.step_id, e.data ->> 'action', 'pending',
    e.data ->> 'title', e.data -> 'request', e.data -> 'context', e.data -> 'scope',
    (e.data ->> 'expires_at')::timestamptz, e.actor_type, e.actor_id, e.recorded_at, e.correlation_id, e.recorded_at,
    e.recorded_at, e.zone, e.data ->> 'action_digest', (e.data ->> 'decide_by')::timestamptz, 0,
    'null'::jsonb, (e.data ->> 'escalate_at')::timestamptz, 0, coalesce((e.data ->> 'required_approvals')::int, 1), '[]',
    least((e.data ->> 'decide_by')::timestamptz, (e.data ->> 'escalate_at')::timestamptz), e.entity_version,
    e.stream_seq, e.event_id
from {events}
where e.event_type = 'approval.requested'

-- name: changed
-- The last event that changes the status decides it; uses of a grant change nothing else.
update {table} as a set
    status = coalesce(c.status, a.status),
    scope = coalesce(d.scope, a.scope),
    action_digest = coalesce(d.action_digest, a.action_digest),
    edited_request = coalesce(d.edited_request, a.edited_request),
    expires_at = case when d.entity_id is null then a.expires_at else d.expires_at end,
    decided_by_type = coalesce(d.actor_type, a.decided_by_type),
    decided_by_id = coalesce(d.actor_id, a.decided_by_id),
    decided_at = coalesce(d.recorded_at, a.decided_at),
    decision = coalesce(d.decision, a.decision),
    decision_reason = case when d.entity_id is null then a.decision_reason else d.reason end,
    decide_by = case when t.entity_id is null then a.decide_by else t.decide_by end,
    wake_at = case when t.entity_id is null then a.wake_at else t.wake_at end,
    escalate_at = case when t.entity_id is null then a.escalate_at else t.escalate_at end,
    escalations = a.escalations + c.escalations,
    votes = a.votes || c.votes,
    notified_at = coalesce(a.notified_at, c.notified_at),
    seen_at = coalesce(a.seen_at, c.seen_at),
    seen_by_id = coalesce(a.seen_by_id, c.seen_by_id),
    delivered_at = coalesce(a.delivered_at, c.delivered_at),
    consumed_at = coalesce(a.consumed_at, c.consumed_at),
    uses = a.uses + c.uses,
    ended_at = coalesce(c.ended_at, a.ended_at),
    superseded_by = coalesce(c.superseded_by, a.superseded_by),
    due_at = case coalesce(c.status, a.status)
        when 'approved' then case when d.entity_id is null then a.expires_at else d.expires_at end
        when 'pending' then
            case when t.entity_id is null then least(a.decide_by, a.escalate_at) else least(t.decide_by, t.escalate_at) end
        when 'held' then case when t.entity_id is null then least(a.decide_by, a.wake_at) else least(t.decide_by, t.wake_at) end
    end,
    updated_at = c.updated_at,
    entity_version = c.entity_version,
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        s.entity_id,
        (array_agg(s.status order by s.stream_seq desc) filter (where s.status is not null))[1] as status,
        count(*) filter (where s.event_type in ('approval.consumed', 'grant.used')) as uses,
        count(*) filter (where s.event_type = 'approval.escalated') as escalations,
        min(s.recorded_at) filter (where s.event_type = 'approval.notified') as notified_at,
        min(s.recorded_at) filter (where s.event_type = 'approval.seen') as seen_at,
        min(s.actor_id) filter (where s.event_type = 'approval.seen') as seen_by_id,
        min(s.recorded_at) filter (where s.event_type = 'approval.delivered') as delivered_at,
        min(s.recorded_at) filter (where s.event_type in ('approval.consumed', 'grant.used')) as consumed_at,
        coalesce(jsonb_agg(s.vote order by s.stream_seq) filter (where s.vote is not null), '[]') as votes,
        max(s.recorded_at) filter (
            where s.status in ('expired', 'cancelled', 'superseded', 'consumed', 'lapsed', 'revoked', 'denied')
        ) as ended_at,
        max(s.superseded_by) as superseded_by,
        max(s.recorded_at) as updated_at,
        max(s.entity_version) as entity_version,
        max(s.stream_seq) as stream_seq,
        (array_agg(s.event_id order by s.stream_seq desc))[1] as last_event_id
    from (
        select
            e.entity_id, e.event_type, e.event_id, e.actor_id, e.recorded_at, e.stream_seq, e.entity_version,
            e.data ->> 'superseded_by' as superseded_by,
            case e.event_type when 'approval.vote_recorded' then jsonb_build_object(
                'actor_type', e.actor_type, 'actor_id', e.actor_id,
                'at', to_char(e.recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                'reason', e.data -> 'reason', 'scope', e.data -> 'scope', 'expires_at', e.data -> 'expires_at',
                'action_digest', e.data -> 'action_digest', 'edited_request', e.data -> 'edited_request'
            ) end as vote,
            case e.event_type
                when 'approval.decided' then
                    case e.data ->> 'decision' when 'approve' then 'approved' when 'deny' then 'denied' else 'held' end
                when 'approval.resumed' then 'pending'
                when 'grant.revoked' then 'revoked'
                when 'grant.used' then null
                when 'approval.escalated' then null
                when 'approval.vote_recorded' then null
                when 'approval.notified' then null
                when 'approval.notification_failed' then null
                when 'approval.seen' then null
                when 'approval.delivered' then null
                else substr(e.event_type, length('approval.') + 1)
            end as status
        from {events}
        where e.entity_type = 'approval' and e.event_type <> 'approval.requested'
    ) s
    group by s.entity_id
) c
left join (
    select distinct on (e.entity_id)
        e.entity_id, e.actor_type, e.actor_id, e.recorded_at, e.data ->> 'decision' as decision,
        e.data ->> 'reason' as reason, e.data -> 'scope' as scope, (e.data ->> 'expires_at')::timestamptz as expires_at,
        e.data ->> 'action_digest' as action_digest,
        case jsonb_typeof(e.data -> 'edited_request') when 'object' then e.data -> 'edited_request' end as edited_request
    from {events}
    where e.event_type = 'approval.decided'
    order by e.entity_id, e.stream_seq desc
) d on d.entity_id = c.entity_id
left join (
    select distinct on (e.entity_id)
        e.entity_id, (e.data ->> 'decide_by')::timestamptz as decide_by, (e.data ->> 'wake_at')::timestamptz as wake_at,
        (e.data ->> 'escalate_at')::timestamptz as escalate_at
    from {events}
    where e.event_type in ('approval.decided', 'approval.resumed', 'approval.escalated')
    order by e.entity_id, e.stream_seq desc
) t on t.entity_id = c.entity_id
where a.approval_id = c.entity_id
