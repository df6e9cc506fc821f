-- The tables of the engine service. They are never migrated: when this file changes they are made anew from the events.

-- name: lock
-- One process at a time makes the tables; the others wait for it, then find them.
select pg_advisory_xact_lock(hashtext('agentos engine tables'))

-- name: definition_table
create table if not exists eng_definition (fingerprint text not null)

-- name: read_fingerprint
select fingerprint from eng_definition

-- name: write_fingerprint
with old as (delete from eng_definition)
insert into eng_definition (fingerprint) values ($1)

-- name: drop
drop view if exists eng_leases_public;
drop table if exists eng_runs, eng_switches, eng_holds, eng_followups, eng_steps_of_clock, eng_checkpoints, eng_parked

-- name: tables
-- Every run that is not over. state: queued (may be claimed), reserved (a claim of it is being appended), held (leased),
-- started (runs without a lease, never to be claimed).
create table eng_runs (
    run_id             text   primary key,
    workspace_id       text   not null,
    room_id            text,
    handler            text,
    tags               text[] not null,
    priority           int    not null,
    created_event      uuid   not null, -- UUIDv7: sorts by age, and runs of one millisecond as they were created
    timeout_s          int,
    version            int    not null, -- entity_version as of the last event applied: what a claim expects
    state              text   not null,
    attempt_no         int    not null default 0,
    claim_token        text,            -- of the lease that is held, or was held last
    claim_key          text,            -- Idempotency-Key of the claim that got it
    holder             text[],          -- ids of who claimed it last, and of its principal
    stop_acknowledged  boolean not null default false, -- the holder has said that it stopped
    expired            boolean not null default false, -- the last lease ran out
    lease_ttl_s        int,
    lease_heartbeat_at timestamptz,
    lease_expires_at   timestamptz,
    deadline_at        timestamptz,     -- end of the attempt by timeout_s
    due_at             timestamptz      -- when the sweep must look at this row
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
-- A claim reads the first rows of one of these, whatever else waits.
create index eng_runs_ready on eng_runs (workspace_id, priority desc, created_event) where state = 'queued';
create index eng_runs_ready_room on eng_runs (workspace_id, room_id, priority desc, created_event)
    where state = 'queued' and room_id is not null;
create index eng_runs_ready_handler on eng_runs (workspace_id, handler, priority desc, created_event)
    where state = 'queued' and handler is not null;
create index eng_runs_ready_tags on eng_runs using gin (tags) where state = 'queued' and tags <> '{}';
create index eng_runs_due on eng_runs (due_at) where due_at is not null;
create index eng_runs_claim_key on eng_runs (workspace_id, claim_key) where claim_key is not null;

-- Kill switches that are engaged. A target of '' is none.
create table eng_switches (
    workspace_id text        not null,
    scope        text        not null,
    target       text        not null,
    event_id     uuid        not null, -- that engaged it
    reason       text,
    engaged_at   timestamptz not null,
    look_at      timestamptz,          -- when to see whether all that it stops has stopped; null: it was seen to
    primary key (workspace_id, scope, target)
);
create index eng_switches_due on eng_switches (look_at) where look_at is not null;

-- Approvals that are on hold: their runs are not given out.
create table eng_holds (
    approval_id text primary key,
    run_id      text not null
);
create index eng_holds_of_run on eng_holds (run_id);

-- What is to be done after a run has ended: evidence, and an incident when it failed.
create table eng_followups (
    run_id       text        not null,
    kind         text        not null,
    workspace_id text        not null,
    attempts     int         not null default 0,
    due_at       timestamptz not null default clock_timestamp(),
    primary key (run_id, kind)
);
create index eng_followups_due on eng_followups (due_at);

-- Steps of the database's clock that the timers were moved along with, so that of several processes one moves them.
create table eng_steps_of_clock (one boolean primary key check (one), stepped_at timestamptz not null);

-- All that the API may read.
create view eng_leases_public as
select run_id, workspace_id, attempt_no, claim_token, lease_expires_at, lease_heartbeat_at
from eng_runs where state = 'held';
grant select on eng_leases_public to agentos_api
