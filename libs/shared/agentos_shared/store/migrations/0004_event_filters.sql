-- Indexes behind the filters of GET /v1/events. Room queries need none: a room's events are the stream room/<id>.
--
-- Each index is paid for by every append that it covers. Measured here (Postgres 18.6, batches of 128 rows of 0.9 kB, CPU of
-- the backend, two rounds): 9.7 us an event without any of them; + 2.3 for a thread (messages have one), + 2.1 for type,
-- + 2.3 for correlation, + 1.3 for principal, + 0.1 for each of the partial ones that a message does not enter; 20.7 with all.
-- Chosen on those grounds:
-- * No index by (workspace, time): the unfiltered list merges the types of the index below, some dozens of short scans.
-- * Correlation is a btree. A hash index costs the same per insert, and one correlation id shared by very many events
--   (clients choose it) would make each insert walk its whole overflow chain.
-- * BRIN with bloom filters costs 0.2 us for three columns but degrades to a scan of the table for values spread over time.
-- Every key ends in (recorded_at, event_id), the order of the answer, so that a page is one short range of one index.

create index evt_events_type on evt_events (workspace_id, event_type, recorded_at, event_id);
create index evt_events_correlation on evt_events (correlation_id, recorded_at, event_id);
create index evt_events_principal on evt_events (actor_principal_id, recorded_at, event_id);

create index evt_events_thread on evt_events (thread_id, recorded_at, event_id) where thread_id is not null;
create index evt_events_run on evt_events (run_id, recorded_at, event_id) where run_id is not null;
create index evt_events_step on evt_events (step_id, recorded_at, event_id) where step_id is not null;

create index evt_events_data_agent on evt_events ((data ->> 'agent_id'), recorded_at, event_id)
    where data ->> 'agent_id' is not null;
create index evt_events_data_principal on evt_events ((data ->> 'principal_id'), recorded_at, event_id)
    where data ->> 'principal_id' is not null;
create index evt_events_data_issued_to on evt_events ((data ->> 'issued_to_principal_id'), recorded_at, event_id)
    where data ->> 'issued_to_principal_id' is not null;
