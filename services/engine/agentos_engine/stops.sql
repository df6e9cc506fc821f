-- name: stops
-- Whether the switch s stops the run o: that of a tool stops the runs that had called it and have got nothing back yet.
(
    s.scope = 'workspace'
    or (s.scope = 'room' and s.target = o.room_id)
    or (s.scope = 'agent' and s.target = any(o.holder))
    or (s.scope = 'tool' and exists (
        select from evt_events c
        where c.run_id = o.run_id and c.event_type = 'tool.invoked' and c.data ->> 'tool_name' = s.target
            and c.recorded_at <= s.engaged_at
            and not exists (select from evt_events d where d.entity_id = c.entity_id and d.entity_version > c.entity_version)
    ))
)

-- name: next
-- Seconds until the next look.
select extract(epoch from min(look_at) - clock_timestamp())::float8 from eng_switches

-- name: due
-- Switches whose time has come, and what they asked to stop and has shown no sign of it; a switch without such comes once.
select s.workspace_id, s.scope, s.target, s.event_id, s.reason, o.run_id
from (
    select * from eng_switches where look_at <= clock_timestamp() order by look_at limit $1
) s
left join lateral (
    select run_id from eng_runs o
    where o.workspace_id = s.workspace_id and o.state in ('held', 'started') and not o.stop_acknowledged and {stops}
    limit $2
) o on true

-- name: seen
-- These switches have been seen to.
update eng_switches s set look_at = null
from unnest($1::uuid[]) as n(event_id)
where s.event_id = n.event_id

-- name: agents
-- Agents that are to get no runs.
select workspace_id, target from eng_switches where scope = 'agent'
