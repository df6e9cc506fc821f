-- name: invoked
-- How a tool was called.
select * from evt_events where entity_id = $2 and entity_version = 1 and entity_type = 'tool_call' and workspace_id = $1

-- name: counted
-- The most that any stream of a workspace has counted of the same, of the same subject.
select coalesce(max(seen_count), 0) as seen, coalesce(max(repeat_count), 0) as repeats
from proj_constraints where workspace_id = $1 and subject_key = $2 and pattern_hash = $3
