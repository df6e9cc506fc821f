-- name: table
create table {table} (
    token_id                text        not null primary key,
    workspace_id            text        not null,
    issued_to_principal_id  text        not null,
    granted_by_principal_id text        not null,
    parent_token_id         text,
    scopes                  jsonb       not null,
    valid_until             timestamptz,
    revoked_at              timestamptz,
    depth                   int         not null,
    created_at              timestamptz not null,
    stream_seq              bigint      not null
)

-- name: indexes
-- GET /v1/capabilities?principal_id=: what a principal was given, newest first.
create index {table}_of_principal on {table} (workspace_id, issued_to_principal_id, created_at desc, stream_seq desc);
-- GET /v1/capabilities/delegations: what a principal handed on, newest first, and what was handed on to it.
create index {table}_handed_on on {table} (workspace_id, granted_by_principal_id, created_at desc, stream_seq desc)
    where parent_token_id is not null;
create index {table}_handed_to on {table} (workspace_id, issued_to_principal_id, created_at desc, stream_seq desc)
    where parent_token_id is not null

-- name: granted
insert into {table} (
    token_id, workspace_id, issued_to_principal_id, granted_by_principal_id, parent_token_id, scopes, valid_until,
    depth, created_at, stream_seq
)
select
    e.entity_id, e.workspace_id, e.data ->> 'issued_to_principal_id', e.data ->> 'granted_by_principal_id',
    e.data ->> 'parent_token_id', e.data -> 'scopes', (e.data ->> 'valid_until')::timestamptz,
    coalesce((e.data ->> 'depth')::int, 0), e.recorded_at, e.stream_seq
from {events}
where e.event_type = 'agent.capability.granted'

-- name: revoked
-- The first end counts.
with ends as (
    select distinct on (gone.token_id) gone.token_id, e.recorded_at
    from {events}
    cross join lateral (
        select e.entity_id as token_id where e.event_type = 'agent.capability.revoked'
        union all
        select e.data ->> 'capability_token_id' where e.event_type = 'engine.token.revoked'
        union all
        select jsonb_array_elements_text(e.data -> 'capability_token_ids') where e.event_type = 'engine.deactivated'
    ) gone
    where e.event_type in ('agent.capability.revoked', 'engine.token.revoked', 'engine.deactivated')
    order by gone.token_id, e.stream_seq
)
update {table} t
set revoked_at = ends.recorded_at
from ends
where t.token_id = ends.token_id and t.revoked_at is null
