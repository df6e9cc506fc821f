-- name: table
create table {table} (
    run_id              text        not null,
    attempt_no          int         not null,
    run_attempt_id      text        not null,
    workspace_id        text        not null,
    room_id             text,
    claim_token         text        not null,
    claimed_by_actor_id text        not null,
    actor_principal_id  text,
    engine_id           text,
    claimed_at          timestamptz not null,
    released_at         timestamptz,
    release_reason      text,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    -- Where it was claimed: what comes after that in the run's stream may end it.
    stream_seq          bigint      not null,
    primary key (run_id, attempt_no)
) with (fillfactor = 80)

-- name: indexes
-- Readers need the key only: GET /v1/runs/{id}/attempts.
comment on table {table} is 'One row for each claim of a run'

-- name: claimed
insert into {table} (
    run_id, attempt_no, run_attempt_id, workspace_id, room_id, claim_token, claimed_by_actor_id, actor_principal_id,
    engine_id, claimed_at, created_at, updated_at, stream_seq
)
select
    e.entity_id, (e.data ->> 'attempt_no')::int, e.data ->> 'run_attempt_id', e.workspace_id, e.room_id,
    e.data ->> 'claim_token', e.data ->> 'claimed_by_actor_id', e.data ->> 'actor_principal_id', e.data ->> 'engine_id',
    e.recorded_at, e.recorded_at, e.recorded_at, e.stream_seq
from {events}
where e.event_type = 'run.claimed'

-- name: ended
-- The first event after the claim that took the run back or ended it.
update {table} as a set
    released_at = c.recorded_at,
    release_reason = c.reason,
    updated_at = c.recorded_at
from (
    select distinct on (open.run_id, open.attempt_no)
        open.run_id, open.attempt_no, e.recorded_at,
        case e.event_type
            when 'run.lease_released' then e.data ->> 'reason'
            when 'run.lease_expired' then 'lease_expired_reclaimed'
            when 'run.completed' then 'run_completed'
            when 'run.failed' then 'run_failed'
            else 'run_cancelled'
        end as reason
    from {events}
    join {table} open on open.run_id = e.entity_id and open.released_at is null and open.stream_seq < e.stream_seq
    where e.event_type in ('run.lease_released', 'run.lease_expired', 'run.completed', 'run.failed', 'run.cancelled')
    order by open.run_id, open.attempt_no, e.stream_seq
) c
where a.run_id = c.run_id and a.attempt_no = c.attempt_no
