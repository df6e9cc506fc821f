-- The gateway: its role, and a schema that is its own. Unlike those of the engine its tables are not derived from
-- events (limits that survive a restart, secrets), so they come with migrations; it may read and write them, not change
-- their form.

do $$
begin
    if not exists (select from pg_roles where rolname = 'agentos_gateway') then
        create role agentos_gateway nologin;
    end if;
    execute format('grant connect on database %I to agentos_gateway', current_database());
end $$;

alter role agentos_gateway set search_path = gw, public;
alter role agentos_gateway set lock_timeout = '5s';
alter role agentos_gateway set statement_timeout = '10s';
alter role agentos_gateway set idle_in_transaction_session_timeout = '10s';

grant usage on schema public to agentos_gateway;
grant select on evt_migrations, evt_events, evt_stream_heads to agentos_gateway;

create schema if not exists gw;
grant usage on schema gw to agentos_gateway;
alter default privileges in schema gw grant select, insert, update, delete on tables to agentos_gateway;

-- Requests that a process of the gateway is about to send, until their outcome is on record. A row whose process is
-- gone is a request of which nobody knows whether it arrived.
create table gw.gw_sends (
    egress_request_id text        primary key,
    workspace_id      text        not null,
    holder            bigint      not null, -- the advisory lock that the process holds for as long as it lives
    begun_at          timestamptz not null default clock_timestamp()
);
