-- name: versions
-- The last version of each entity that there is.
select wanted.id as entity_id, last.entity_version
from unnest($1::text[]) as wanted(id)
cross join lateral (
    select entity_version from evt_events
    where entity_id = wanted.id and entity_type in ('engine', 'capability', 'principal')
    order by entity_version desc
    limit 1
) last

-- name: engine_of_digest
-- The engine that a token was given to.
select entity_id from evt_events
where workspace_id = $1 and event_type in ('engine.registered', 'engine.token.issued') and evt_events.data ->> 'token_digest' = $2
limit 1
