-- name: table
create table {table} (
    principal_id      text        not null,
    workspace_id      text        not null,
    principal_type    text        not null,
    legacy_actor_type text        not null,
    legacy_actor_id   text        not null,
    created_at        timestamptz not null,
    entity_version    int         not null,
    stream_seq        bigint      not null,
    last_event_id     uuid        not null
)

-- name: indexes
alter table {table} add primary key (principal_id);
-- GET /v1/principals: those of a workspace, the newest first.
create index {table}_made on {table} (workspace_id, created_at desc, principal_id desc);
create index {table}_of_type on {table} (workspace_id, principal_type, created_at desc, principal_id desc)

-- name: registered
insert into {table} (
    principal_id, workspace_id, principal_type, legacy_actor_type, legacy_actor_id,
    created_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.data ->> 'principal_type', e.data ->> 'legacy_actor_type',
    e.data ->> 'legacy_actor_id', e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'principal.registered'
