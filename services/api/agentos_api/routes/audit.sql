-- name: redactions
-- What was found in events and taken out, newest first: one row a match of each secret.leaked.detected.
select
    event.event_id || ':' || (match.place - 1) as redaction_log_id,
    event.workspace_id,
    event.data ->> 'source_event_id' as event_id,
    event.data ->> 'source_event_type' as event_type,
    event.stream_type,
    event.stream_id,
    match.found ->> 'rule_id' as rule_id,
    match.found ->> 'match_preview' as match_preview,
    event.data ->> 'scanner_version' as detector_version,
    'event_emitted' as action,
    event.recorded_at as created_at
from evt_events event
cross join lateral jsonb_array_elements(event.data -> 'matches') with ordinality as match (found, place)
where
    event.workspace_id = $1
    and event.event_type = 'secret.leaked.detected'
    and ($2::text is null or event.data ->> 'source_event_id' = $2)
    and ($3::text is null or match.found ->> 'rule_id' = $3)
    and ($4::text is null or event.stream_type = $4)
    and ($5::text is null or event.stream_id = $5)
    and (event.recorded_at, event.event_id || ':' || (match.place - 1)) < ($6::timestamptz, $7::text)
order by event.recorded_at desc, redaction_log_id desc
limit $8
