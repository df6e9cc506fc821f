-- name: table
create table {table} (
    egress_request_id         text        primary key,
    workspace_id              text        not null,
    room_id                   text,
    run_id                    text,
    step_id                   text,
    requested_by_type         text        not null,
    requested_by_id           text        not null,
    requested_by_principal_id text        not null,
    zone                      text        not null,
    action                    text        not null,
    method                    text        not null,
    target_url                text        not null,
    target_domain             text        not null,
    action_digest             text        not null,
    status                    text        not null,
    policy_decision           text,
    policy_reason_code        text,
    policy_reason             text,
    enforcement_mode          text,
    blocked                   boolean,
    would_deny                boolean     not null,
    approval_id               text,
    attempts                  int         not null,
    outcome                   jsonb       not null, -- without the content of the answer
    content                   jsonb       not null,
    sent_at                   timestamptz,
    ended_at                  timestamptz,
    correlation_id            text        not null,
    created_at                timestamptz not null,
    updated_at                timestamptz not null,
    entity_version            int         not null,
    stream_seq                bigint      not null,
    last_event_id             uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/egress/requests: a workspace's, a room's, a run's, those of a status; the newest first.
create index {table}_newest on {table} (workspace_id, created_at desc, egress_request_id desc);
create index {table}_of_room on {table} (room_id, created_at desc, egress_request_id desc) where room_id is not null;
create index {table}_of_run on {table} (run_id, created_at desc, egress_request_id desc) where run_id is not null;
create index {table}_of_status on {table} (workspace_id, status, created_at desc, egress_request_id desc)

-- name: requested
insert into {table} (
    egress_request_id, workspace_id, room_id, run_id, step_id, requested_by_type, requested_by_id,
    requested_by_principal_id, zone, action, method, target_url, target_domain, action_digest, status, would_deny,
    attempts, outcome, content, correlation_id, created_at, updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.run_id, e.step_id, e.actor_type, e.actor_id, e.actor_principal_id, e.zone,
    e.data ->> 'action', e.data ->> 'method', e.data ->> 'target_url', e.data ->> 'target_domain',
    e.data ->> 'action_digest', 'requested', false, 0, 'null', 'null', e.correlation_id, e.recorded_at, e.recorded_at,
    e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'egress.requested'

-- name: changed
-- The last decision and the last outcome count; the status is the last event's.
update {table} as r set
    status = c.status,
    policy_decision = coalesce(d.data ->> 'decision', r.policy_decision),
    policy_reason_code = coalesce(d.data ->> 'reason_code', r.policy_reason_code),
    policy_reason = case when d.entity_id is null then r.policy_reason else d.data ->> 'reason' end,
    enforcement_mode = coalesce(d.data ->> 'enforcement_mode', r.enforcement_mode),
    blocked = case when d.entity_id is null then r.blocked else coalesce((d.data ->> 'blocked')::boolean, false) end,
    would_deny = coalesce((d.data ->> 'would_deny')::boolean, r.would_deny),
    approval_id = case when d.entity_id is null then r.approval_id else d.data ->> 'approval_id' end,
    attempts = greatest(r.attempts, c.attempts),
    outcome = coalesce(o.outcome, r.outcome),
    content = coalesce(o.content, r.content),
    sent_at = coalesce(c.sent_at, r.sent_at),
    ended_at = coalesce(o.recorded_at, r.ended_at),
    updated_at = c.updated_at,
    entity_version = c.entity_version,
    stream_seq = c.stream_seq,
    last_event_id = c.last_event_id
from (
    select
        e.entity_id,
        (array_agg(
            case e.event_type when 'egress.reconciled' then e.data ->> 'outcome'
                else substr(e.event_type, length('egress.') + 1) end
            order by e.stream_seq desc
        ))[1] as status,
        coalesce(max((e.data ->> 'attempt')::int) filter (where e.event_type = 'egress.sent'), 0) as attempts,
        max(e.recorded_at) filter (where e.event_type = 'egress.sent') as sent_at,
        max(e.recorded_at) as updated_at,
        max(e.entity_version) as entity_version,
        max(e.stream_seq) as stream_seq,
        (array_agg(e.event_id order by e.stream_seq desc))[1] as last_event_id
    from {events}
    where e.entity_type = 'egress_request' and e.event_type not in ('egress.requested', 'quota.exceeded')
    group by e.entity_id
) c
left join (
    select distinct on (e.entity_id) e.entity_id, e.data
    from {events}
    where e.event_type in ('egress.allowed', 'egress.blocked')
    order by e.entity_id, e.stream_seq desc
) d on d.entity_id = c.entity_id
left join (
    select distinct on (e.entity_id)
        e.entity_id,
        e.recorded_at,
        jsonb_build_object(
            'result',
            case e.event_type when 'egress.reconciled' then e.data -> 'outcome'
                else to_jsonb(substr(e.event_type, length('egress.') + 1)) end
        ) || (e.data - 'egress_request_id' - 'outcome' - 'content') as outcome,
        e.data -> 'content' as content
    from {events}
    where e.event_type in ('egress.succeeded', 'egress.failed', 'egress.outcome_unknown', 'egress.reconciled')
    order by e.entity_id, e.stream_seq desc
) o on o.entity_id = c.entity_id
where r.egress_request_id = c.entity_id
