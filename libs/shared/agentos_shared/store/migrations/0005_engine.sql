-- The engine service: its role, and a schema that is its own. It makes the tables in there by itself, since they are
-- derived from events and may be made anew at any time.

do $$
begin
    if not exists (select from pg_roles where rolname = 'agentos_engine') then
        create role agentos_engine nologin;
    end if;
    execute format('grant connect on database %I to agentos_engine', current_database());
    -- Schema eng belongs to the service, and only a member can give something to a role.
    if not pg_has_role(current_user, 'agentos_engine', 'set') then
        execute format('grant agentos_engine to %I', current_user);
    end if;
end $$;

alter role agentos_engine set search_path = eng, public;
alter role agentos_engine set lock_timeout = '5s';
alter role agentos_engine set statement_timeout = '30s';
alter role agentos_engine set idle_in_transaction_session_timeout = '10s';

grant usage on schema public to agentos_engine;
grant select on evt_migrations, evt_events, evt_stream_heads to agentos_engine;

create schema if not exists eng authorization agentos_engine;
grant usage on schema eng to agentos_api;

-- All that the API may read in there. The service puts the real one in its place; this one lets a reader ask before.
create view eng.eng_leases_public as
select
    null::text as run_id,
    null::text as workspace_id,
    null::int as attempt_no,
    null::text as claim_token,
    null::timestamptz as lease_expires_at,
    null::timestamptz as lease_heartbeat_at
where false;
alter view eng.eng_leases_public owner to agentos_engine;
grant select on eng.eng_leases_public to agentos_api;

-- A claim that finds nothing asks which streams of its workspace have moved, and must not look at all the others.
create index evt_stream_heads_workspace on evt_stream_heads (workspace_id);
