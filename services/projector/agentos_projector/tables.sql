-- name: definition_table
-- Which definitions the tables were made from. One row.
create table if not exists proj_definition (
    only_row    boolean     primary key default true check (only_row),
    fingerprint text        not null,
    since       timestamptz not null default clock_timestamp()
)

-- name: schema_owner
select nspowner::regrole::text as owner, pg_get_userbyid(nspowner) = current_user as own from pg_namespace where nspname = 'proj'

-- name: read_fingerprint
select fingerprint from proj_definition

-- name: write_fingerprint
insert into proj_definition (fingerprint) values ($1)
on conflict (only_row) do update set fingerprint = excluded.fingerprint, since = clock_timestamp()

-- name: has_progress
select exists (select from proj_checkpoints where seq > 0)

-- name: events
select coalesce(sum(seq), 0)::bigint from evt_stream_heads

-- name: missing_tables
select name from unnest($1::text[]) as name where to_regclass('proj.' || quote_ident(name)) is null

-- name: lock
-- Serialises changes of the tables themselves between processes, for the length of the transaction.
select pg_advisory_xact_lock(hashtextextended('agentos.projector.tables', 0))

-- name: try_hold_rebuild
select pg_try_advisory_lock(hashtextextended('agentos.projector.rebuild', 0))

-- name: try_hold_indexes
select pg_try_advisory_lock(hashtextextended('agentos.projector.indexes', 0))

-- name: release_indexes
select pg_advisory_unlock(hashtextextended('agentos.projector.indexes', 0))

-- name: shadow_tables
-- What a rebuild made and did not finish.
select relname from pg_class where relnamespace = 'proj'::regnamespace and relkind = 'r' and right(relname, length($1)) = $1

-- name: shadow_indexes
-- Indexes, also those of constraints, that carry the name of a shadow table.
select c.relname
from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relnamespace = 'proj'::regnamespace and strpos(c.relname, $1) > 0

-- name: index_states
-- Of these indexes, those that exist, and whether they are complete.
select c.relname, i.indisvalid
from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relnamespace = 'proj'::regnamespace and c.relname = any($1::text[])

-- name: clean_pending
-- Work off what inserts into the GIN indexes have queued.
select sum(gin_clean_pending_list(c.oid::regclass))::bigint
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam
where c.relnamespace = 'proj'::regnamespace and a.amname = 'gin' and i.indisvalid

-- name: heads
select count(*)::bigint as streams, coalesce(sum(seq), 0)::bigint as events from evt_stream_heads

-- name: behind
-- What the store holds and the checkpoints do not cover, without parked streams.
with waiting as (
    select s.stream_type, s.stream_id, coalesce(c.seq, 0) as after, s.seq
    from evt_stream_heads s
    left join proj.proj_checkpoints c on c.stream_type = s.stream_type and c.stream_id = s.stream_id
    where s.seq > coalesce(c.seq, 0)
        and not exists (
            select from proj.proj_parked p where p.stream_type = s.stream_type and p.stream_id = s.stream_id
        )
)
select
    count(*)::bigint as streams,
    coalesce(sum(seq - after), 0)::bigint as events,
    (
        select min(e.recorded_at)
        from (select * from waiting limit 1000) w
        join evt_events e on e.stream_type = w.stream_type and e.stream_id = w.stream_id and e.stream_seq = w.after + 1
    ) as oldest
from waiting

-- name: survey
-- What these ranges hold: per range and type how many events, from where to where, and since when they wait.
select r.ordinal, e.event_type, count(*) as events, min(e.stream_seq) as first, max(e.stream_seq) as last,
    min(e.recorded_at) as oldest
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
    with ordinality as r(stream_type, stream_id, after, upto, ordinal)
cross join lateral (
    select event_type, stream_seq, recorded_at from evt_events
    where stream_type = r.stream_type and stream_id = r.stream_id and stream_seq > r.after and stream_seq <= r.upto
    order by stream_seq
) e
group by r.ordinal, e.event_type
