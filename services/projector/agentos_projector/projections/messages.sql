-- name: table
create table {table} (
    message_id        text        not null,
    workspace_id      text        not null,
    room_id           text        not null,
    thread_id         text        not null,
    sender_type       text        not null,
    sender_id         text        not null,
    content_md        text        not null,
    lang              text        not null,
    parent_message_id text,
    run_id            text,
    step_id           text,
    labels            jsonb       not null,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    entity_version    int         not null,
    stream_seq        bigint      not null,
    last_event_id     uuid        not null
)

-- name: indexes
alter table {table} add primary key (message_id);
-- GET /v1/threads/{id}/messages: a thread's messages, newest first.
create index {table}_newest on {table} (thread_id, created_at desc, stream_seq desc)

-- name: search
-- GET /v1/search for words that many messages hold: walk from the last changed one until the page is full.
create index concurrently if not exists {table}_changed on {table} (workspace_id, updated_at desc, message_id desc);
-- GET /v1/search for words that few messages hold. Inserts only queue (25 us a message instead of 300); the projector
-- itself works the queue off beside the live path, long before its limit (64 MB) would make an insert do so.
create index concurrently if not exists {table}_words on {table} using gin (content_md gin_trgm_ops)
    with (gin_pending_list_limit = 65536)

-- name: created
insert into {table} (
    message_id, workspace_id, room_id, thread_id, sender_type, sender_id, content_md, lang, parent_message_id,
    run_id, step_id, labels, created_at, updated_at, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.room_id, e.thread_id, e.data ->> 'sender_type', e.data ->> 'sender_id',
    e.data ->> 'content_md', e.data ->> 'lang', e.data ->> 'parent_message_id', e.run_id, e.step_id, e.data -> 'labels',
    e.recorded_at, e.recorded_at, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'message.created'
