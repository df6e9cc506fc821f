-- Requests that are on their way. A row's holder is the process that sends it, known by an advisory lock that it holds
-- for as long as its connection lives.

-- name: hold
-- $1: the lock of this process.
select pg_advisory_lock($1)

-- name: begin
-- Nothing comes back where somebody has it already.
insert into gw_sends (egress_request_id, workspace_id, holder) values ($1, $2, $3)
on conflict (egress_request_id) do nothing
returning egress_request_id

-- name: end
delete from gw_sends where egress_request_id = $1 and holder = $2

-- name: let_go
-- This process does not know what is on record of a request. $3: 0, it sent nothing; -1, it may have. Nobody holds
-- these locks, so that whoever looks next settles it.
update gw_sends set holder = $3 where egress_request_id = $1 and holder = $2

-- name: left
-- A row whose process is gone, for one that settles it: locked for this transaction. A lock that can be had is nobody's.
select egress_request_id, workspace_id, holder = 0 as unsent from gw_sends
where holder <> $1 and pg_try_advisory_xact_lock_shared(holder)
order by begun_at
limit 1
for update skip locked

-- name: settled
delete from gw_sends where egress_request_id = $1

-- name: outcome
-- How a request stands: its last event.
select event_type, content::text as content from evt_events
where entity_id = $1 and entity_type = 'egress_request' and workspace_id = $2
order by entity_version desc
limit 1
