-- name: table
create table {table} (
    action_id             text        not null primary key,
    workspace_id          text        not null,
    action_type           text        not null,
    side_effect           text        not null,
    reversible            boolean     not null,
    zone_required         text,
    requires_pre_approval boolean     not null,
    post_review_required  boolean     not null,
    undo_action           text,
    undo_window_s         int,
    idempotency_key       text,
    metadata              jsonb       not null,
    undo_verified         boolean     not null,
    created_at            timestamptz not null,
    updated_at            timestamptz not null,
    entity_version        int         not null,
    stream_seq            bigint      not null,
    last_event_id         uuid        not null
)

-- name: indexes
-- GET /v1/action-registry: a workspace's actions by type.
create unique index {table}_by_type on {table} (workspace_id, action_type collate "C")

-- name: registered
insert into {table} (
    action_id, workspace_id, action_type, side_effect, reversible, requires_pre_approval, post_review_required, metadata,
    undo_verified, created_at, updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.data ->> 'action_type', e.data ->> 'side_effect', (e.data ->> 'reversible')::boolean,
    (e.data ->> 'requires_pre_approval')::boolean, (e.data ->> 'post_review_required')::boolean, e.data -> 'metadata',
    false, e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'action.registered' and e.entity_version = 1

-- name: changed
-- The last registration tells all; a drill after it tells only how that went.
update {table} t
set side_effect = coalesce(named.data ->> 'side_effect', t.side_effect),
    reversible = coalesce((named.data ->> 'reversible')::boolean, t.reversible),
    zone_required = case when named.entity_id is null then t.zone_required else named.data ->> 'zone_required' end,
    requires_pre_approval = coalesce((named.data ->> 'requires_pre_approval')::boolean, t.requires_pre_approval),
    post_review_required = coalesce((named.data ->> 'post_review_required')::boolean, t.post_review_required),
    undo_action = case when named.entity_id is null then t.undo_action else named.data ->> 'undo_action' end,
    undo_window_s = case when named.entity_id is null then t.undo_window_s else (named.data ->> 'undo_window_s')::int end,
    idempotency_key = case when named.entity_id is null then t.idempotency_key else named.data ->> 'idempotency_key' end,
    metadata = coalesce(named.data -> 'metadata', t.metadata),
    undo_verified = (last.data ->> 'undo_verified')::boolean,
    updated_at = last.recorded_at,
    entity_version = last.entity_version,
    stream_seq = last.stream_seq,
    last_event_id = last.event_id
from (
    select distinct on (e.entity_id) e.entity_id, e.data, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
    from {events}
    where e.event_type in ('action.registered', 'action.undo_drill.recorded')
    order by e.entity_id, e.stream_seq desc
) last
left join (
    select distinct on (e.entity_id) e.entity_id, e.data
    from {events}
    where e.event_type = 'action.registered'
    order by e.entity_id, e.stream_seq desc
) named on named.entity_id = last.entity_id
where t.action_id = last.entity_id
