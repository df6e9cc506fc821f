-- The policy service: its role. It reads events and keeps nothing.

do $$
begin
    if not exists (select from pg_roles where rolname = 'agentos_policy') then
        create role agentos_policy nologin;
    end if;
    execute format('grant connect on database %I to agentos_policy', current_database());
end $$;

alter role agentos_policy set search_path = public;
alter role agentos_policy set lock_timeout = '1s';
alter role agentos_policy set statement_timeout = '5s';
alter role agentos_policy set idle_in_transaction_session_timeout = '5s';

grant usage on schema public to agentos_policy;
grant select on evt_migrations, evt_events, evt_stream_heads to agentos_policy;
