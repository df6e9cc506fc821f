-- name: changes
-- What has changed of all that decisions depend on, in some workspaces, in the last seconds: further back than any append
-- takes to commit.
select workspace_id, array_agg(event_id) as ids
from evt_events
where workspace_id = any($1::text[]) and event_type = any($2::text[])
    and recorded_at > statement_timestamp() - make_interval(secs => $3)
group by workspace_id
