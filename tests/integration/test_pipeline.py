"""Pages of the pipeline against a plain computation over all rows, and that the order of delivery does not matter."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from agentos_api.reads import pipeline
from agentos_api.reads.pipeline import START, Found
from agentos_api.reads.queries import Position, Reader
from agentos_api.reads.waiting import Projected
from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.domain import pipeline as rule
from agentos_shared.domain.envelope import Event
from tests.fixtures.projecting import WORKSPACE, connected, insert
from tests.fixtures.stack import Postgres
from tests.fixtures.work import Work

ELSEWHERE = "room_elsewhere"


class Growth(Work):
    """Runs in rooms, and in other streams what is said about them."""

    experiments = (None, "exp_1", "exp_2")

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = random.Random(seed)
        self._open: list[str] = []
        self._asked: list[str] = []

    def fill(self, rooms: int, messages: int) -> list[Event]:
        """``messages`` things that happen, in ``rooms`` rooms."""
        for name in ("exp_1", "exp_2"):
            texts: dict[str, Any] = {"title": name, "hypothesis": "h", "success_criteria": {}, "stop_conditions": {}}
            data = texts | {"budget_cap_units": 1, "risk_tier": "low", "metadata": {}}
            self._add(ELSEWHERE, "experiment.created", "experiment", name, data)
        for number in range(messages):
            room = f"room_{self._rng.randrange(rooms)}"
            match self._rng.randrange(16):
                case 0 if self.lives:
                    self._record(number)
                case 1 if self.lives:
                    self._open_incident(number)
                case 2 if self.lives:
                    self._ask(number)
                case 3 if self._asked:
                    approval = self._asked.pop(self._rng.randrange(len(self._asked)))
                    decision = self._rng.choice(["approve", "deny", "hold"])
                    self._add(ELSEWHERE, "approval.decided", "approval", approval, {"decision": decision, "scope": {}})
                case 4 if self._open:
                    incident = self._open.pop(self._rng.randrange(len(self._open)))
                    self._add(ELSEWHERE, "incident.closed", "incident", incident, {"reason": None})
                case _:
                    run = f"run_{room}_{self._rng.randrange(40)}"
                    made = self.live(room, run, self._rng.randrange(60))
                    if made and made[-1].event_type in ("run.completed", "run.failed"):
                        self._prove(room, run, made[-1].event_type.removeprefix("run."))
        self._add(ELSEWHERE, "experiment.closed", "experiment", "exp_2", {"status": "closed", "reason": None})
        return self.events

    def _prove(self, room: str, run: str, status: str) -> None:
        window = {"from_seq": 1, "to_seq": 2, "event_count": 2}
        data = {"run_status": "failed" if status == "failed" else "succeeded", "manifest": {"stream_window": window}}
        evidence = f"evd_{run}"
        hashes = {"manifest_hash": "sha256:0", "event_hash_root": "sha256:0"}
        self._add(room, "evidence.manifest.created", "evidence", evidence, data | hashes, run_id=run)

    def _record(self, number: int) -> None:
        run = self._rng.choice([None, *self.lives])
        own = {"template_key": "t", "template_version": "1", "metrics": [], "metrics_hash": "h", "score": 1}
        about: dict[str, Any] = {
            "run_id": run,
            "experiment_id": self._rng.choice([None, "exp_1"]),
            "evidence_id": self._rng.choice([None, f"evd_{run}"]),
            "decision": self._rng.choice(["pass", "warn", "fail"]),
            "metadata": {},
        }
        self._add(ELSEWHERE, "scorecard.recorded", "scorecard", f"scd_{number:05}", own | about)

    def _ask(self, number: int) -> None:
        approval = f"appr_{number:05}"
        run = self._rng.choice(list(self.lives)) if self._rng.randrange(3) else None
        self._asked.append(approval)
        data: dict[str, Any] = {
            "action": "deploy",
            "title": self._rng.choice([None, "t"]),
            "request": {},
            "context": {},
            "scope": {},
        }
        self._add(ELSEWHERE, "approval.requested", "approval", approval, data, run_id=run)

    def _open_incident(self, number: int) -> None:
        incident = f"inc_{number:05}"
        self._open.append(incident)
        data = {"title": "t", "severity": "low", "details": {}}
        run = self._rng.choice(list(self.lives))
        self._add(ELSEWHERE, "incident.opened", "incident", incident, data, run_id=run)


@asynccontextmanager
async def projected(
    postgres: Postgres, events: Sequence[Event], most: int = 100, seed: int = 0
) -> AsyncIterator[Reader]:
    """The read side over these events, projected anew: streams in some order, at most so many events at once."""
    rng, done = random.Random(seed), dict[str, int]()
    heads = {event.stream_id: event.stream_seq for event in events}
    applier = Applier(PROJECTIONS)
    own = await tables.open_session(postgres.projector_url)
    assert await tables.prepare(own, PROJECTIONS)
    await own.execute("truncate " + ", ".join(projection.table for projection in PROJECTIONS))
    while behind := [stream for stream in heads if done.get(stream, 0) < heads[stream]]:
        stream = rng.choice(behind)
        after = done.get(stream, 0)
        done[stream] = min(heads[stream], after + rng.randint(1, most))
        async with own.transaction():
            await applier(own, [Range(StreamKey("room", stream), after, done[stream])])
    await own.close()
    async with asyncpg.create_pool(postgres.api_url, min_size=1, max_size=1) as pool:
        yield Reader(pool, Projected(), WORKSPACE)


async def pages(reader: Reader, limit: int) -> list[Found]:
    start, found = START, list[Found]()
    while True:
        found.append(await pipeline.find(reader, Position(), start, limit))
        if (place := found[-1].next_place) is None:
            return found
        start = place


def newest(rows: Sequence[Any], time: str) -> Any:
    return max(rows, key=lambda row: (row[time], row["stream_seq"]), default=None)


async def plain(reader: Reader) -> list[tuple[str, str, str]]:
    """Every entity with its stage, by looking at all rows for each."""
    tables_ = ("runs", "experiments", "scorecards", "evidence", "incidents", "approvals")
    runs, experiments, scorecards, evidence, incidents, approvals = [
        await reader.fetch(f"select * from proj_{name}") for name in tables_
    ]
    placed: list[tuple[Any, tuple[str, str, str]]] = []

    def add(
        kind: str, entity: Any, key: str, experiment: Any, run: Any, scorecard: Any, asked: str | None = None
    ) -> None:
        run_id = run["run_id"] if run else None
        proof = next((row for row in evidence if run_id and row["run_id"] == run_id), None)
        about = [row for row in incidents if run_id and row["run_id"] == run_id]
        opened = newest([row for row in about if row["status"] == "open"], "updated_at")
        incident = opened or newest(about, "updated_at")
        where = rule.stage(
            rule.Standing(
                entity_id=entity[key],
                correlation_id=entity["correlation_id"],
                experiment_status=experiment["status"] if experiment else None,
                approval_status=asked,
                run=rule.Run(run["run_id"], run["status"]) if run else None,
                evidence=rule.Evidence(proof["evidence_id"], proof["run_id"], proof["run_status"]) if proof else None,
                scorecard=(
                    rule.Scorecard(*(scorecard[name] for name in ("scorecard_id", "decision", "run_id", "evidence_id")))
                    if scorecard
                    else None
                ),
                open_incident_id=opened["incident_id"] if opened else None,
            )
        )
        times = [row["updated_at"] for row in (entity, run, proof, scorecard, incident) if row]
        if where is not None:
            placed.append((max(times), (kind, entity[key], where.stage)))

    for run in runs:
        own_experiment = next((row for row in experiments if row["experiment_id"] == run["experiment_id"]), None)
        scorecard = newest([row for row in scorecards if row["run_id"] == run["run_id"]], "created_at")
        add("run", run, "run_id", own_experiment, run, scorecard)
    for experiment in experiments:
        own = [row for row in runs if row["experiment_id"] == experiment["experiment_id"]]
        latest = max(own, key=lambda row: (row["created_at"], row["created_seq"]), default=None)
        about = [row for row in scorecards if row["experiment_id"] == experiment["experiment_id"]]
        about += [row for row in scorecards if latest and row["run_id"] == latest["run_id"]]
        add("experiment", experiment, "experiment_id", experiment, latest, newest(about, "created_at"))
    for scorecard in scorecards:
        if scorecard["run_id"] is None and scorecard["experiment_id"] is None:
            add("scorecard", scorecard, "scorecard_id", None, None, scorecard)
    for approval in approvals:
        if approval["status"] in ("pending", "held"):
            asking = next((row for row in runs if row["run_id"] == approval["run_id"]), None)
            of = asking["experiment_id"] if asking else None
            about = [row for row in scorecards if asking and row["run_id"] == asking["run_id"]]
            own_experiment = next((row for row in experiments if row["experiment_id"] == of), None)
            add(
                "approval",
                approval,
                "approval_id",
                own_experiment,
                asking,
                newest(about, "created_at"),
                approval["status"],
            )
    placed.sort(key=lambda entry: (-entry[0].timestamp(), *entry[1][:2]))
    return [entity for _, entity in placed]


@pytest.mark.parametrize("seed", range(3))
async def test_pages_hold_each_entity_once_in_its_stage(postgres: Postgres, seed: int) -> None:
    events = Growth(seed).fill(3, 500)
    async with connected(postgres.owner_url) as owner:
        await insert(owner, events)
    async with projected(postgres, events, seed=seed) as reader:
        expected = await plain(reader)
        assert len({stage for _, _, stage in expected}) >= 5
        found: list[Found] = []
        for limit in (2, 50):
            found = await pages(reader, limit)
            listed = [(item["entity_type"], item["entity_id"], stage) for page in found for stage, item in page.items]
            assert listed == expected
            assert all(len(page.items) == limit for page in found[:-1])
        newest_event = max(events, key=lambda event: event.recorded_at)
        assert found[0].watermark_event_id == newest_event.event_id


async def test_entities_of_one_time_do_not_stop_it(postgres: Postgres) -> None:
    growth = Growth(0)
    for number in range(40):
        growth.live("room_0", f"run_{number:02}", 0)
    moment = growth.events[0].recorded_at
    events = [event._replace(recorded_at=moment) for event in growth.events]
    async with connected(postgres.owner_url) as owner:
        await insert(owner, events)
    async with projected(postgres, events) as reader:
        ids = [item["entity_id"] for page in await pages(reader, 3) for _, item in page.items]
        assert ids == [f"run_{number:02}" for number in range(40)]


async def test_the_order_of_delivery_does_not_matter(postgres: Postgres) -> None:
    events = Growth(7).fill(4, 400)
    async with connected(postgres.owner_url) as owner:
        await insert(owner, events)
    answers = []
    for most in (1, 17, 1000):
        async with projected(postgres, events, most, seed=most) as reader:
            answers.append(await pages(reader, 50))
    assert answers[0] == answers[1] == answers[2]


async def test_a_page_is_found_by_indexes(postgres: Postgres) -> None:
    events = Growth(1).fill(3, 300)
    async with connected(postgres.owner_url) as owner:
        await insert(owner, events)
    async with projected(postgres, events) as reader, reader.connection() as connection:
        # Small tables are scanned faster than any index, so that has to be forbidden to see what the planner could use.
        await connection.execute("set enable_seqscan = off; set plan_cache_mode = force_custom_plan")
        arguments = (WORKSPACE, 0, "", "", START.updated_at, 51, pipeline.RUN_STATUSES)
        rows = await connection.fetch(f"explain (costs off) {pipeline.SQL['round']}", *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan on proj" not in plan, plan
    for index in (
        "proj_runs_changed",
        "proj_runs_newest_of_experiment",
        "proj_experiments_changed",
        "proj_evidence_newest",
        "proj_scorecards_newest",
        "proj_incidents_changed",
        "proj_approvals_of_status",
        "proj_approvals_of_run",
    ):
        assert index in plan, plan
