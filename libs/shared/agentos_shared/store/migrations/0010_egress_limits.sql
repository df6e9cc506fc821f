-- Limits of what leaves the machine: of each the time at which all that was taken of it has come back. They hold over
-- restarts and over all processes of the gateway, by the database's clock. A row whose time is over says nothing.

create table gw.gw_limits (
    key text        primary key,
    tat timestamptz not null
) with (fillfactor = 50);
grant select, insert, update, delete on gw.gw_limits to agentos_gateway;
