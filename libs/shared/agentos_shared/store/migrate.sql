-- name: lock
-- Serialises migrations of one database; held until unlocked or the session ends.
select pg_advisory_lock($1);

-- name: unlock
-- Ends it.
select pg_advisory_unlock($1);

-- name: is_migrated
-- NULL where nothing of ours is there.
select to_regclass('public.evt_migrations');

-- name: relations
-- What a database holds that is not ours.
select n.nspname || '.' || c.relname as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where (n.nspname in ('public', 'proj', 'eng')) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1;

-- name: create_table
-- Which migrations were applied, and what they said.
create table evt_migrations (
    version    int         primary key,
    name       text        not null,
    checksum   text        not null,
    applied_at timestamptz not null default clock_timestamp()
);

-- name: applied
-- In the order of their numbers.
select version, name, checksum from public.evt_migrations order by version;

-- name: record
-- In the transaction of the migration itself.
insert into public.evt_migrations (version, name, checksum) values ($1, $2, $3);

-- name: server
-- Version, encoding of this database, and whether the extension that search needs is installed.
select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
    current_setting('server_encoding') as encoding,
    exists (select from pg_available_extensions where name = 'pg_trgm') as trigrams;

-- name: unsafe_settings
-- synchronous_commit has other values that still flush locally; off alone acknowledges what is not on disk.
select name, setting from pg_settings
where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off'
order by name;
