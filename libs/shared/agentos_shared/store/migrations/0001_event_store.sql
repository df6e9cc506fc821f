-- The event store. One writer (services/api), append-only, one hash chain per stream.
-- Invariants: docs/adr/0002-event-store.md.

create table evt_stream_heads (
    stream_type  text   not null,
    stream_id    text   not null,
    workspace_id text   not null,
    seq          bigint not null check (seq >= 0),
    hash         text,
    primary key (stream_type, stream_id)
) with (fillfactor = 50); -- room for HOT updates: this is the hottest table of the system

create table evt_events (
    event_id           uuid        not null,
    event_type         text        not null,
    event_version      int         not null,
    -- Whole milliseconds, as the envelope tells and the hash covers them.
    occurred_at        timestamptz(3) not null,
    recorded_at        timestamptz(3) not null,
    workspace_id       text        not null,
    mission_id         text,
    room_id            text,
    thread_id          text,
    run_id             text,
    step_id            text,
    actor_type         text        not null,
    actor_id           text        not null,
    actor_principal_id text        not null,
    zone               text        not null,
    stream_type        text        not null,
    stream_id          text        not null,
    stream_seq         bigint      not null check (stream_seq > 0),
    entity_type        text        not null,
    entity_id          text        not null,
    entity_version     int         not null check (entity_version > 0),
    correlation_id     text        not null,
    causation_id       text,
    redaction_level    text        not null default 'none',
    contains_secrets   boolean     not null default false,
    idempotency_key    text,
    prev_event_hash    text,
    event_hash         text        not null,
    -- The canonical bytes (RFC 8785) of {data, display, model_context, policy_context}: what is hashed is what is stored.
    content            text        not null,
    salt               bytea,
    data_digest        text        not null,
    -- Derived by the database, so that a query over jsonb and a reader of the canonical bytes can never disagree.
    data               jsonb       not null generated always as ((content::jsonb) -> 'data') stored,
    primary key (stream_type, stream_id, stream_seq)
);
create unique index evt_events_event_id on evt_events (event_id);
create unique index evt_events_entity on evt_events (entity_id, entity_version);

-- One row for each append transaction, which waits here until JetStream has acknowledged all of its events.
create table evt_outbox (
    position     bigint generated always as identity primary key,
    event_ids    uuid[] not null check (cardinality(event_ids) > 0), -- in the order of the append
    traceparents text[] -- one for each event, null where it has none; null as a whole where none has
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table evt_outbox alter event_ids set storage external; -- ids do not compress

-- Idempotency: request keys and incident keys, with the answer that was given. Not derived, so backed up.
create table evt_keys (
    workspace_id text        not null,
    kind         text        not null,
    key          text        not null,
    fingerprint  bytea       not null,
    event_id     uuid,
    status       int         not null,
    answer       bytea       not null,
    created_at   timestamptz not null default clock_timestamp(),
    primary key (workspace_id, kind, key)
);
create index evt_keys_age on evt_keys (created_at);

-- How far the store's own readers have come (audit checkpoints). A consumer's checkpoints live in its own tables.
create table evt_checkpoints (
    consumer    text        not null,
    stream_type text        not null,
    stream_id   text        not null,
    seq         bigint      not null,
    hash        text,
    updated_at  timestamptz not null default clock_timestamp(),
    primary key (consumer, stream_type, stream_id)
);

-- What the writer sends for one event, in the order of the envelope's tuple. One array of these costs the driver and the
-- server half of what an array per column does.
create type evt_new_event as (
    event_id uuid, event_type text, event_version int, occurred_at timestamptz, recorded_at timestamptz,
    workspace_id text, mission_id text, room_id text, thread_id text, run_id text, step_id text,
    actor_type text, actor_id text, actor_principal_id text, zone text,
    stream_type text, stream_id text, stream_seq bigint, entity_type text, entity_id text, entity_version int,
    correlation_id text, causation_id uuid, redaction_level text, contains_secrets boolean, idempotency_key text,
    prev_event_hash text, content text, salt bytea, data_digest text, event_hash text
);

create function evt_refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'evt_events is append-only: % is refused', tg_op
        using errcode = 'restrict_violation', hint = 'Append a correcting event instead.';
end $$;

create trigger evt_events_append_only before update or delete on evt_events
    for each row execute function evt_refuse_change();
create trigger evt_events_no_truncate before truncate on evt_events
    for each statement execute function evt_refuse_change();
-- Also in sessions that switch ordinary triggers off (session_replication_role).
alter table evt_events enable always trigger evt_events_append_only;
alter table evt_events enable always trigger evt_events_no_truncate;

-- The guard of the one-statement append: aborts the whole statement when a head or a key was not what the writer saw.
create function evt_require(held boolean) returns boolean language plpgsql as $$
begin
    if held is not true then
        raise exception 'stale append' using errcode = 'AO001';
    end if;
    return true;
end $$;
