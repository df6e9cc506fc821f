-- name: table
create table {table} (
    rule_id        text        not null primary key,
    workspace_id   text        not null,
    host           text        not null,
    effect         text        not null,
    methods        jsonb       not null,
    path           text,
    port           int,
    principal      text,
    room_id        text,
    zones          jsonb       not null,
    mode           text        not null,
    private        boolean     not null,
    networks       jsonb       not null,
    rate           jsonb       not null,
    request_bytes  bigint,
    response_bytes bigint,
    expires_at     timestamptz,
    note           text,
    status         text        not null,
    approval_id    text,
    set_by_type    text        not null,
    set_by_id      text        not null,
    set_at         timestamptz not null,
    removed_by_id  text,
    removed_at     timestamptz,
    remove_reason  text,
    updated_at     timestamptz not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
) with (fillfactor = 80)

-- name: indexes
-- GET /v1/egress/rules: a workspace's, those of a host, those of a status; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, rule_id desc);
create index {table}_of_host on {table} (workspace_id, host, updated_at desc, rule_id desc);
create index {table}_of_status on {table} (workspace_id, status, updated_at desc, rule_id desc);
-- GET of one rule: how far a workspace's rules are projected.
create index {table}_version on {table} (workspace_id, entity_version desc)

-- name: set
-- The last setting of each rule counts.
insert into {table} (
    rule_id, workspace_id, host, effect, methods, path, port, principal, room_id, zones, mode, private, networks,
    rate, request_bytes, response_bytes, expires_at, note, status, approval_id, set_by_type, set_by_id, set_at, updated_at,
    entity_version, stream_seq, last_event_id
)
select distinct on (e.data ->> 'rule_id')
    e.data ->> 'rule_id', e.workspace_id, e.data ->> 'host', e.data ->> 'effect', e.data -> 'methods', e.data ->> 'path',
    (e.data ->> 'port')::int, e.data ->> 'principal', e.data ->> 'room_id', e.data -> 'zones', e.data ->> 'mode',
    (e.data ->> 'private')::boolean, e.data -> 'networks', e.data -> 'rate', (e.data ->> 'request_bytes')::bigint,
    (e.data ->> 'response_bytes')::bigint, (e.data ->> 'expires_at')::timestamptz, e.data ->> 'note', 'active',
    e.data ->> 'approval_id', e.actor_type, e.actor_id, e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq,
    e.event_id
from {events}
where e.event_type = 'egress.rule.set'
order by e.data ->> 'rule_id', e.stream_seq desc
on conflict (rule_id) do update
set effect = excluded.effect,
    mode = excluded.mode,
    private = excluded.private,
    networks = excluded.networks,
    rate = excluded.rate,
    request_bytes = excluded.request_bytes,
    response_bytes = excluded.response_bytes,
    expires_at = excluded.expires_at,
    note = excluded.note,
    status = excluded.status,
    approval_id = excluded.approval_id,
    set_by_type = excluded.set_by_type,
    set_by_id = excluded.set_by_id,
    set_at = excluded.set_at,
    removed_by_id = null,
    removed_at = null,
    remove_reason = null,
    updated_at = excluded.updated_at,
    entity_version = excluded.entity_version,
    stream_seq = excluded.stream_seq,
    last_event_id = excluded.last_event_id

-- name: removed
-- A removal counts unless the rule was set again after it.
update {table} t
set status = 'removed',
    removed_by_id = gone.actor_id,
    removed_at = gone.recorded_at,
    remove_reason = gone.data ->> 'reason',
    updated_at = gone.recorded_at,
    entity_version = gone.entity_version,
    stream_seq = gone.stream_seq,
    last_event_id = gone.event_id
from (
    select distinct on (e.data ->> 'rule_id')
        e.data ->> 'rule_id' as rule_id, e.data, e.actor_id, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
    from {events}
    where e.event_type = 'egress.rule.removed'
    order by e.data ->> 'rule_id', e.stream_seq desc
) gone
where t.rule_id = gone.rule_id and t.stream_seq < gone.stream_seq
