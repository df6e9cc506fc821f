-- name: stream_of_event
-- Where an event stands.
select stream_type, stream_id from evt_events where event_id = $1
