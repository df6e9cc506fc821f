-- name: table
create table {table} (
    scorecard_id     text             not null,
    workspace_id     text             not null,
    experiment_id    text,
    run_id           text,
    evidence_id      text,
    agent_id         text,
    principal_id     text,
    template_key     text             not null,
    template_version text             not null,
    metrics          jsonb            not null,
    metrics_hash     text             not null,
    score            double precision not null,
    decision         text             not null,
    rationale        text,
    metadata         jsonb            not null,
    created_by_type  text             not null,
    created_by_id    text             not null,
    created_at       timestamptz      not null,
    updated_at       timestamptz      not null,
    correlation_id   text             not null,
    entity_version   int              not null,
    stream_seq       bigint           not null,
    last_event_id    uuid             not null
)

-- name: indexes
alter table {table} add primary key (scorecard_id);
-- GET /v1/scorecards: a workspace's, an experiment's, a run's, an agent's; newest first.
create index {table}_newest on {table} (workspace_id, created_at desc, scorecard_id desc);
create index {table}_of_experiment on {table} (experiment_id, created_at desc, scorecard_id desc)
    where experiment_id is not null;
create index {table}_of_run on {table} (run_id, created_at desc, scorecard_id desc) where run_id is not null;
create index {table}_of_agent on {table} (agent_id, created_at desc, scorecard_id desc) where agent_id is not null

-- name: recorded
insert into {table} (
    scorecard_id, workspace_id, experiment_id, run_id, evidence_id, agent_id, principal_id, template_key,
    template_version, metrics, metrics_hash, score, decision, rationale, metadata, created_by_type, created_by_id,
    created_at, updated_at, correlation_id, entity_version, stream_seq, last_event_id
)
select
    e.entity_id, e.workspace_id, e.data ->> 'experiment_id', e.data ->> 'run_id', e.data ->> 'evidence_id',
    e.data ->> 'agent_id', e.data ->> 'principal_id', e.data ->> 'template_key', e.data ->> 'template_version',
    e.data -> 'metrics', e.data ->> 'metrics_hash', (e.data ->> 'score')::double precision, e.data ->> 'decision',
    e.data ->> 'rationale', e.data -> 'metadata', e.actor_type, e.actor_id, e.recorded_at, e.recorded_at,
    e.correlation_id, e.entity_version, e.stream_seq, e.event_id
from {events}
where e.event_type = 'scorecard.recorded'
