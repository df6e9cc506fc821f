-- name: table
create table {table} (
    label_id       text        not null primary key,
    workspace_id   text        not null,
    resource_type  text        not null,
    resource_id    text        not null,
    label          text        not null,
    room_id        text,
    purpose_tags   jsonb       not null,
    updated_at     timestamptz not null,
    entity_version int         not null,
    stream_seq     bigint      not null,
    last_event_id  uuid        not null
)

-- name: indexes
-- GET /v1/resources/labels: a workspace's, a resource's, those of a type; last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, label_id desc);
create index {table}_of_resource on {table} (workspace_id, resource_id, updated_at desc, label_id desc);
create index {table}_of_type on {table} (workspace_id, resource_type, updated_at desc, label_id desc)

-- name: labelled
-- The last label counts.
insert into {table} (
    label_id, workspace_id, resource_type, resource_id, label, room_id, purpose_tags, updated_at, entity_version,
    stream_seq, last_event_id
)
select distinct on (e.entity_id)
    e.entity_id, e.workspace_id, e.data ->> 'resource_type', e.data ->> 'resource_id', e.data ->> 'label',
    e.data ->> 'room_id', e.data -> 'purpose_tags', e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'resource.labelled'
order by e.entity_id, e.stream_seq desc
on conflict (label_id) do update
set label = excluded.label,
    room_id = excluded.room_id,
    purpose_tags = excluded.purpose_tags,
    updated_at = excluded.updated_at,
    entity_version = excluded.entity_version,
    stream_seq = excluded.stream_seq,
    last_event_id = excluded.last_event_id
