-- Who may do what: one role per service, with the rights that ARCHITECTURE.md gives it and no others.
-- Roles belong to the whole cluster, so another database may have made them already. Their passwords come later.

do $$
declare
    role text;
begin
    foreach role in array array['agentos_api', 'agentos_projector'] loop
        if not exists (select from pg_roles where rolname = role) then
            execute format('create role %I nologin', role);
        end if;
        execute format('alter role %I set search_path = public, proj', role);
        -- A transaction that hangs holds locks and keeps vacuum from its work.
        execute format('alter role %I set lock_timeout = ''5s''', role);
        execute format('grant connect on database %I to %I', current_database(), role);
        execute format('grant usage on schema public to %I', role);
        -- Schema proj belongs to the projector, and only a member can give something to a role.
        if not pg_has_role(current_user, role, 'set') then
            execute format('grant %I to %I', role, current_user);
        end if;
    end loop;
    execute format('revoke all on database %I from public', current_database());
    execute format('alter database %I set search_path = public, proj', current_database());
    -- A rebuild copies through temporary tables and may take its time.
    execute format('grant temporary on database %I to agentos_projector', current_database());
end $$;

alter role agentos_api set statement_timeout = '10s';
alter role agentos_api set idle_in_transaction_session_timeout = '10s';
alter role agentos_projector set statement_timeout = '60s';
alter role agentos_projector set idle_in_transaction_session_timeout = '60s';

revoke create on schema public from public;

grant select, insert on evt_events to agentos_api;
grant select, insert, update on evt_stream_heads to agentos_api;
grant select, insert, delete on evt_outbox to agentos_api;
grant select, insert, update, delete on evt_keys to agentos_api;
grant select, insert, update on evt_checkpoints to agentos_api;
grant select on evt_migrations to agentos_api, agentos_projector;
grant select on evt_events, evt_stream_heads to agentos_projector;

create schema if not exists proj authorization agentos_projector;
grant usage on schema proj to agentos_api;
alter default privileges for role agentos_projector in schema proj grant select on tables to agentos_api;
