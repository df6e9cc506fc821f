-- name: table
create table {table} (
    lesson_id       text        not null,
    workspace_id    text        not null,
    experiment_id   text,
    run_id          text,
    scorecard_id    text,
    incident_id     text,
    category        text        not null,
    summary         text        not null,
    action_items    jsonb       not null,
    tags            jsonb       not null,
    metadata        jsonb       not null,
    created_by_type text        not null,
    created_by_id   text        not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    correlation_id  text        not null,
    entity_version  int         not null,
    stream_seq      bigint      not null,
    last_event_id   uuid        not null
)

-- name: indexes
alter table {table} add primary key (lesson_id);
-- GET /v1/lessons: a workspace's, or those of what they were learnt from; newest first.
create index {table}_newest on {table} (workspace_id, created_at desc, lesson_id desc);
create index {table}_of_experiment on {table} (experiment_id, created_at desc, lesson_id desc)
    where experiment_id is not null;
create index {table}_of_run on {table} (run_id, created_at desc, lesson_id desc) where run_id is not null;
create index {table}_of_scorecard on {table} (scorecard_id, created_at desc, lesson_id desc)
    where scorecard_id is not null;
create index {table}_of_incident on {table} (incident_id, created_at desc, lesson_id desc)
    where incident_id is not null

-- name: logged
insert into {table} (
    lesson_id, workspace_id, experiment_id, run_id, scorecard_id, incident_id, category, summary, action_items, tags,
    metadata, created_by_type, created_by_id, created_at, updated_at, correlation_id, entity_version, stream_seq,
    last_event_id
)
select
    e.entity_id, e.workspace_id, e.data ->> 'experiment_id', e.data ->> 'run_id', e.data ->> 'scorecard_id',
    e.data ->> 'incident_id', e.data ->> 'category', e.data ->> 'summary', e.data -> 'action_items', e.data -> 'tags',
    e.data -> 'metadata', e.actor_type, e.actor_id, e.recorded_at, e.recorded_at, e.correlation_id, e.entity_version,
    e.stream_seq, e.event_id
from {events}
where e.event_type = 'lesson.logged'
