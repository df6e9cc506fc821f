-- name: take
-- Take one of a limit, if there is one: no row comes back if there is not. By the database's clock alone.
insert into gw_limits as held (key, tat) values ($1, clock_timestamp() + $2::interval)
on conflict (key) do update set tat = greatest(held.tat, clock_timestamp()) + $2::interval
where greatest(held.tat, clock_timestamp()) + $2::interval - clock_timestamp() <= $3::interval
returning held.tat

-- name: wait
-- Seconds until one of a limit can be taken.
select extract(epoch from tat + $2::interval - $3::interval - clock_timestamp())::float8 from gw_limits where key = $1

-- name: forget
-- Limits of which all has come back.
delete from gw_limits where tat < clock_timestamp()
