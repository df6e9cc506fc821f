-- Indexes behind the filters of GET /v1/events. Room queries need none: a room's events are the stream room/<id>.
--
-- Each index is paid for by every append that it covers. Backend CPU of inserting a message (Postgres 18.6, 100,000 rows of
-- 1.2 kB in batches of 128, median of five interleaved rounds): 9.0 us without any of them; + 2.4 for thread, + 2.4 for
-- correlation, + 2.0 for principal, + 1.2 for type, 0 to + 0.3 (the noise) for each partial one that a message does not
-- enter; 16.8 with all. Chosen on those grounds:
-- * No index by (workspace, time): the unfiltered list merges the types of the index below, some dozens of short scans.
-- * Correlation is a btree. A hash index is 0.8 us cheaper while the ids differ, but clients choose them: with one id on all
--   100,000 events it cost 9.8 us an insert, the btree 0.9.
-- * BRIN with bloom filters costs 0.4 us for three columns together, but for a principal with 0.2 % of the events, spread
--   over time, it read 30 % of the table, and it gives no order.
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
