"""Whatever happens to incidents, experiments and the rest, and however it is cut into batches: the same rows, live,
rebuilt and folded by hand."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.rebuild import rebuild
from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.domain import evidence, experiments, incidents, lessons, principals, rooms, runs, scorecards
from agentos_shared.domain.decider import Command, Decide, Meta
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError
from agentos_shared.host.lifecycle import CLOCK, RNG
from agentos_shared.store.checkpoints import ConnectionStore
from tests.fixtures.given import Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres
from tests.property.test_projections import Silent, run

TABLES = {
    "proj_incidents": "incident_id",
    "proj_incident_learning": "learning_id",
    "proj_experiments": "experiment_id",
    "proj_evidence": "evidence_id",
    "proj_scorecards": "scorecard_id",
    "proj_lessons": "lesson_id",
}
JSON = {
    "details",
    "rca",
    "tags",
    "success_criteria",
    "stop_conditions",
    "metadata",
    "manifest",
    "metrics",
    "action_items",
}
PLAN = {"title": "Shorter", "hypothesis": "Half", "budget_cap_units": 1, "risk_tier": "low"}
METRICS = [{"key": "q", "value": 0.7}]

#: What happens once to an entity: its table, and the columns that are members of the event's data.
ONCE = {
    "evidence.manifest.created": ("proj_evidence", ("manifest", "manifest_hash", "event_hash_root", "run_status")),
    "scorecard.recorded": ("proj_scorecards", ("agent_id", "metrics", "score", "decision", "metadata")),
    "lesson.logged": ("proj_lessons", ("run_id", "category", "action_items")),
}

small = st.integers(0, 2)
happenings = st.one_of(
    st.tuples(st.just("open"), small, st.booleans()),
    st.tuples(st.sampled_from(["acknowledge", "rca", "learning", "close"]), small, small),
    st.tuples(st.sampled_from(["acknowledge", "rca", "learning", "close"]), st.just(0), small),
    st.tuples(st.just("experiment"), small, st.booleans()),
    st.tuples(st.sampled_from(["update", "end"]), small, small),
    st.tuples(st.just("run"), small, small),
    st.tuples(st.sampled_from(["scorecard", "lesson"]), st.just(0), small),
    st.tuples(st.just("project"), st.integers(1, 7), small),
)


class Ticking(Given):
    """A history that takes time."""

    tick = timedelta(milliseconds=1)


def meta_of(example: int) -> Meta:
    """Each example has a workspace of its own, since they share a store."""
    workspace = f"ws_{example}"
    return Meta(workspace, principals.actor(workspace, "user", "ada"), "c-1")


def wishes(example: int, number: int, what: tuple[str, int, Any]) -> list[tuple[Decide, Command[Any]]]:
    """The commands of one happening; the third member chooses among variants."""
    verb, which, variant = what
    room = f"room_{example}"
    meta = meta_of(example)

    def command(body: Any, entity_id: str, in_room: bool = True, loaded: Any = None) -> Command[Any]:
        return Command(body, meta, entity_id, None, room if in_room else None, loaded)

    body: Any
    incident, experiment = f"inc_{example}_{which}", f"exp_{example}_{which}"
    match verb:
        case "open":
            body = incidents.OpenIncident(title=f"I {number}", details={"n": number}, idempotency_key="k")
            return [(incidents.open_incident, command(body, incident, variant))]
        case "acknowledge":
            return [(incidents.acknowledge, command(incidents.AcknowledgeIncident(), incident))]
        case "rca":
            return [(incidents.update_rca, command(incidents.UpdateRca(analysis={"n": number}), incident))]
        case "learning":
            body = incidents.LogLearning(note=f"L {number}", tags=["t"] * variant)
            return [(incidents.log_learning, command(body, incident))]
        case "close":
            reason = f"R {number}" if variant else None
            return [(incidents.close, command(incidents.CloseIncident(reason=reason), incident))]
        case "experiment":
            body = experiments.CreateExperiment.model_validate(PLAN)
            return [(experiments.create, command(body, experiment, variant))]
        case "update":
            change: dict[str, Any] = [{"title": f"T {number}"}, {"metadata": {"n": number}}, {"budget_cap_units": 0.5}][
                variant
            ]
            return [(experiments.update, command(experiments.UpdateExperiment(**change), experiment))]
        case "end":
            body = experiments.CloseExperiment(force=variant > 0, reason="r")
            return [(experiments.close, command(body, experiment, loaded=variant))]
        case "run":
            return [
                (runs.create, command(runs.CreateRun(room_id=room), f"run_{example}_{number}")),
                (runs.fail, command(runs.FailRun(message="boom"), f"run_{example}_{number}")),
                (evidence.finalize, command(evidence.FinalizeEvidence(), f"run_{example}_{number}")),
            ]
        case "scorecard":
            body = scorecards.RecordScorecard.model_validate(
                {"template_key": "t", "template_version": "1", "metrics": METRICS, "agent_id": f"a{variant}"}
            )
            return [(scorecards.record, command(body, f"scd_{example}_{number}", in_room=False))]
        case _:
            body = lessons.LogLesson(category="c", summary="s", run_id="run_1", action_items=["a"] * variant)
            return [(lessons.log, command(body, f"les_{example}_{number}", in_room=False))]


class History:
    """A room, and what happens in it and in its workspace, as the deciders allow it."""

    def __init__(self, example: int) -> None:
        self.example = example
        room = Command(rooms.CreateRoom(title="R"), meta_of(example), f"room_{example}", None, f"room_{example}")
        self.given: Given = Ticking((rooms.create, room))
        self._numbers = count()

    def happen(self, what: tuple[str, int, Any]) -> None:
        for decide, command in wishes(self.example, next(self._numbers), what):
            if decide is experiments.create and self.given.version(command.entity_id):
                return  # an id is drawn once
            if decide is evidence.finalize:
                command = command._replace(loaded=ended(self.given.events, command.entity_id))
            try:
                self.given = self.given.and_then(decide, command)
            except DomainError:
                return


def ended(events: Sequence[Event], run_id: str) -> list[evidence.RunEvent]:
    own = [event for event in events if event.run_id == run_id]
    return [evidence.RunEvent(*(getattr(event, name) for name in evidence.RunEvent._fields)) for event in own]


def expected(events: Sequence[Event]) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows, without keys and places that every row has alike: folded one event at a time."""
    rows: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in TABLES}
    for event in events:
        data, key = event.data, event.entity_id
        now = {"updated_at": event.recorded_at, "entity_version": event.entity_version, "stream_seq": event.stream_seq}
        names: tuple[str, ...]
        incident = rows["proj_incidents"].get(key, {})
        experiment = rows["proj_experiments"].get(key, {})
        match event.event_type:
            case "incident.opened":
                told = {"status": "open", "learning_count": 0, "rca": {}, "acknowledged_at": None, "closed_at": None}
                names = ("title", "summary", "severity", "details")
                rows["proj_incidents"][key] = told | {name: data[name] for name in names} | now
            case "incident.acknowledged":
                incident |= {"acknowledged_at": event.recorded_at, **now}
            case "incident.rca.updated":
                incident |= {"rca": data["rca"], "rca_updated_at": event.recorded_at, **now}
            case "incident.learning.logged":
                incident |= {"learning_count": incident["learning_count"] + 1, **now}
                own = {"incident_id": key, "note": data["note"], "tags": data["tags"], "stream_seq": event.stream_seq}
                rows["proj_incident_learning"][data["learning_id"]] = own
            case "incident.closed":
                closing = {"status": "closed", "closed_at": event.recorded_at, "closed_reason": data["reason"]}
                incident |= closing | now
            case "experiment.created":
                names = ("title", "metadata", "budget_cap_units")
                rows["proj_experiments"][key] = {"status": "open"} | {name: data[name] for name in names} | now
            case "experiment.updated":
                changed = {name: data[name] for name in ("title", "metadata", "budget_cap_units")}
                experiment |= {name: value for name, value in changed.items() if value is not None} | now
            case "experiment.closed":
                closing = {"status": data["status"], "closed_at": event.recorded_at, "closed_reason": data["reason"]}
                experiment |= closing | now
            case "evidence.manifest.created" | "scorecard.recorded" | "lesson.logged":
                table, names = ONCE[event.event_type]
                rows[table][key] = {name: data[name] for name in names} | now
            case _:
                pass
    return rows


async def differing(connection: Any, events: Sequence[Event]) -> list[str]:
    """Where the tables are not what the events make."""
    found = []
    for table, wanted in expected(events).items():
        rows = {row[TABLES[table]]: row for row in await connection.fetch(f"select * from proj.{table}")}
        if rows.keys() != wanted.keys():
            found.append(f"{table}: {sorted(rows)} instead of {sorted(wanted)}")
            continue
        for key, members in wanted.items():
            for name, value in members.items():
                stored = rows[key][name]
                stored = orjson.loads(stored) if name in JSON and stored is not None else stored
                if stored != value:
                    found.append(f"{table} {key} {name}: {stored} instead of {value}")
    return found


async def test_live_and_rebuilt_rows_are_those_of_the_events(postgres: Postgres) -> None:
    everything: list[Event] = []
    examples = count()
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, PROJECTIONS)

        async def project(events: Sequence[Event], batch: int) -> None:
            await insert(db, events)
            everything.extend(events)
            consumer = Consumer(
                "test",
                store=ConnectionStore(own, "proj"),
                bus=Silent(),
                clock=CLOCK,
                rng=RNG,
                effects=Applier(PROJECTIONS),
                limits=Limits(batch_events=batch, page=2),
            )
            await consumer.reconcile()
            assert await db.fetchval("select count(*) from proj.proj_parked") == 0

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(happenings, min_size=1, max_size=50))
        async def example(script: list[tuple[str, int, Any]]) -> None:
            history, done = History(next(examples)), 0
            for what in [*script, ("project", 3, 0)]:
                if what[0] != "project":
                    history.happen(what)
                    continue
                await project(history.given.events[done:], what[1])
                done = len(history.given.events)
            assert await differing(db, everything) == []
            await rebuild(postgres.projector_url, projections=PROJECTIONS)
            assert await differing(db, everything) == []

        await run(example)
        await own.close()
