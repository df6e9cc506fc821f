-- An experiment is closed on the number of its runs that have not ended, counted in the store: a read model may be late.
-- Partial, so that only the creation of a run in an experiment pays for it.
create index evt_events_run_experiment on evt_events ((data ->> 'experiment_id'))
    where event_type = 'run.created' and data ->> 'experiment_id' is not null;
