-- name: table
create table {table} (
    token_id                text        not null primary key,
    workspace_id            text        not null,
    engine_id               text        not null,
    principal_id            text        not null,
    capability_token_id     text        not null,
    token_label             text,
    issued_at               timestamptz not null,
    valid_until             timestamptz,
    revoked_at              timestamptz,
    revoked_reason          text,
    created_by_principal_id text        not null,
    stream_seq              bigint      not null
)

-- name: indexes
-- GET /v1/engines/{id}/tokens: an engine's tokens, newest first.
create index {table}_newest on {table} (engine_id, stream_seq desc)

-- name: issued
insert into {table} (
    token_id, workspace_id, engine_id, principal_id, capability_token_id, token_label, issued_at, valid_until,
    created_by_principal_id, stream_seq
)
select
    e.data ->> 'token_id', e.workspace_id, e.entity_id, e.data ->> 'principal_id', e.data ->> 'capability_token_id',
    e.data ->> 'token_label', e.recorded_at, (e.data ->> 'valid_until')::timestamptz, e.actor_principal_id, e.stream_seq
from {events}
where e.event_type in ('engine.registered', 'engine.token.issued')

-- name: revoked
-- The first end counts. A deactivation ends what was issued before it.
with ends as (
    select distinct on (t.token_id) t.token_id, e.recorded_at, e.data ->> 'reason' as reason
    from {events}
    join {table} t on t.engine_id = e.entity_id and t.stream_seq < e.stream_seq
    where t.revoked_at is null and (
        e.event_type = 'engine.deactivated'
        or (e.event_type = 'engine.token.revoked' and t.token_id = e.data ->> 'token_id')
    )
    order by t.token_id, e.stream_seq
)
update {table} t
set revoked_at = ends.recorded_at, revoked_reason = ends.reason
from ends
where t.token_id = ends.token_id
