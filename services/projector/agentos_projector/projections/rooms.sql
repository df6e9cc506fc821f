-- name: table
create table {table} (
    room_id         text        not null,
    workspace_id    text        not null,
    mission_id      text,
    title           text        not null,
    topic           text,
    room_mode       text        not null,
    default_lang    text        not null,
    tool_policy_ref text,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    entity_version  int         not null,
    stream_seq      bigint      not null,
    last_event_id   uuid        not null
)

-- name: indexes
alter table {table} add primary key (room_id);
-- GET /v1/rooms: a workspace's rooms, last changed first.
create index {table}_changed on {table} (workspace_id, updated_at desc, room_id desc)

-- name: created
insert into {table} (
    room_id, workspace_id, mission_id, title, topic, room_mode, default_lang, tool_policy_ref,
    created_at, updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.mission_id, e.data ->> 'title', e.data ->> 'topic', e.data ->> 'room_mode',
    e.data ->> 'default_lang', e.data ->> 'tool_policy_ref',
    e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'room.created'
