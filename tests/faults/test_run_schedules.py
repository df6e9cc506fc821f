"""Random schedules of several engines on the real services, each answer compared with the model of what may be.

What engines race for is decided in some order; the answers must fit one. A paused engine is one whose lease is over:
its timer in the queue is moved to now, which is all that passing time does, and the server ends the lease by itself.
Since races end one way or the other, no draw may depend on what came of them: each rule draws a source of chance.

At the end of each schedule nothing is stuck: whatever engines have left is claimed anew and completed. Then the events
must show that no run was ever held under two fencing tokens, and the read models say what the model says.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any, ClassVar, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from agentos_shared.domain.ids import new_uuid
from tests.checkers.run_model import RUNNING, Answer, Command, World, lease_violations, some_order
from tests.faults.cluster import Cluster
from tests.faults.engines import Request, Service

#: Schedules of a round: of the only one in CI, of one among many by `make faults` (20 rounds are 2,000 schedules).
SHORT: Final = 15
LONG: Final = 100
STEPS: Final = 20
ENGINES: Final = ("one", "two", "three")  # the first has credentials, the others only say who they are
#: Commands that a failure tells.
TOLD: Final = 60

#: How often which is drawn, so that runs come to do something before they end.
WEIGHTS: Final = {"step": 5, "tool": 6, "heartbeat": 3, "complete": 0.5, "fail": 0.5, "cancel": 0.5, "start": 0.5}
PATHS: Final = {
    "heartbeat": "/v1/runs/{run}/lease/heartbeat",
    "release": "/v1/runs/{run}/lease/release",
    "start": "/v1/runs/{run}/start",
    "complete": "/v1/runs/{run}/complete",
    "fail": "/v1/runs/{run}/fail",
    "cancel": "/v1/runs/{run}/cancel",
    "step": "/v1/runs/{run}/steps",
    "step_complete": "/v1/steps/{target}/complete",
    "step_fail": "/v1/steps/{target}/fail",
    "tool": "/v1/steps/{target}/toolcalls",
    "artifact": "/v1/steps/{target}/artifacts",
    "tool_succeed": "/v1/toolcalls/{target}/succeed",
    "tool_fail": "/v1/toolcalls/{target}/fail",
}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "step": {"kind": "work"},
    "tool": {"tool_name": "look"},
    "artifact": {"kind": "note", "content": {"type": "text", "text": "found"}},
    "fail": {"message": "broke"},
}
OF_A_LEASE: Final = ("heartbeat", "release")
WITHOUT_LEASE: Final = ("start", "cancel")
OF_A_STEP: Final = ("step_complete", "step_fail", "tool", "artifact")
OF_A_CALL: Final = ("tool_succeed", "tool_fail")

_workspaces = count(1)
chances = st.randoms(use_true_random=True)


class Asked(NamedTuple):
    """A command as the model and as the server get it."""

    command: Command
    request: Request


class Schedule(RuleBasedStateMachine):
    """One schedule, in a workspace of its own."""

    service: ClassVar[Service]

    @initialize()
    def open(self) -> None:
        self.workspace_id = f"ws_schedule_{next(_workspaces)}"
        self.world = World()
        self.tokens: defaultdict[str, list[str]] = defaultdict(list)  # run -> every one that it ever had
        self.holders: dict[str, str] = {}  # claim token -> engine
        self.log: list[str] = []
        self.broken = False
        room = self._post(Request("/v1/rooms", {"title": "Work"}))
        self.room_id = str(room.body["room_id"])
        engine = self._post(Request("/v1/engines/register", {"actor_id": ENGINES[0]}))
        self.engine_id = str(engine.body["engine"]["engine_id"])
        self.credentials = {"x-engine-id": self.engine_id, "x-engine-token": engine.body["token"]["engine_token"]}
        self._perform([self._creation(Random(1)), self._creation(Random(2))])

    # -- what may happen

    @rule(chance=chances)
    def create(self, chance: Random) -> None:
        self._perform([self._creation(chance)])

    @rule(engine=st.sampled_from(ENGINES), settled=st.booleans())
    def claim(self, engine: str, settled: bool) -> None:
        if settled:
            self.service.run(self.service.covered(self.workspace_id))
        self._perform([self._claim(engine)], in_order=settled)

    @rule(engine=st.sampled_from(ENGINES), wait_s=st.sampled_from([0, 0.2]))
    def claim_while_the_answer_is_lost(self, engine: str, wait_s: float) -> None:
        """The same claim again, with its key, while the first is under way."""
        asked = self._claim(engine, wait_s)
        headers = {**asked.request.headers, "idempotency-key": new_uuid()}
        self._perform([Asked(asked.command, asked.request._replace(headers=headers))], times=3)

    @rule(chance=chances, times=st.integers(4, 10))
    def act(self, chance: Random, times: int) -> None:
        """One thing after the other, mostly on one run."""
        run_id = self._some_run(chance)
        for _ in range(times):
            self._perform([self._act(chance, chance.choice((run_id, run_id, self._some_run(chance))))])

    @rule(chance=chances, size=st.integers(2, 4))
    def race_for_a_run(self, chance: Random, size: int) -> None:
        run_id = self._some_run(chance)
        self._perform([self._act(chance, run_id) for _ in range(size)])

    @rule(chance=chances, size=st.integers(2, 4))
    def race(self, chance: Random, size: int) -> None:
        """Claims, new runs, and whatever else, at once."""
        kinds = chance.choices((self._creation, self._some_claim, self._act), (1, 4, 5), k=size)
        self._perform([kind(chance) for kind in kinds])

    @rule(chance=chances, size=st.integers(0, 3), pause_s=st.sampled_from([0, 0, 0.03, 0.05, 0.07]))
    def run_out(self, chance: Random, size: int, pause_s: float) -> None:
        """Engines stand still for longer than their leases last, while they and others go on."""
        if held := self._held():
            over = chance.sample(held, chance.randint(1, min(3, len(held))))
            verb = chance.choice(("heartbeat", "heartbeat", "step", "complete"))
            too_late = self._command(verb, over[0], "holder", ENGINES[0])
            self._perform([too_late, *(self._act(chance, over[0]) for _ in range(size))], over, pause_s)

    def teardown(self) -> None:
        if not self.broken:
            self._end_all()
            self.service.run(self._look_at_all())

    # -- doing it

    def _perform(
        self,
        asked: Sequence[Asked],
        over: Sequence[str] = (),
        pause_s: float = 0,
        *,
        times: int = 1,
        in_order: bool = False,
    ) -> None:
        """Send all at once, each so many times, and find an order in which the answers are right.

        Args:
            over: runs whose leases are over from now on.
        """
        self.broken = True
        before = World(self.world.time_is_over(over).runs, in_order)
        answers = self.service.run(self._at_once(asked, over, pause_s, times))
        done = [(one.command, answer) for one, answer in zip(asked, answers, strict=True)]
        self.log += [f"time is over for {over}"] * bool(over) + [f"  {one} -> {answer}" for one, answer in done]
        for command, answer in done:
            if command.verb == "claim" and answer.status == 200 and answer.body["claimed"]:
                told = answer.body["run"]
                self.tokens[told["run_id"]].append(told["claim_token"])
                self.holders[told["claim_token"]] = told["claimed_by_actor_id"]
        after = some_order(before, [*done, *((command, Answer(200, {})) for command in before.overdue())])
        if after is None:
            story = "\n".join(self.log[-TOLD:])
            raise AssertionError(f"no order explains the last {len(done)} of {self.workspace_id}:\n{story}\n{before}")
        self.world = after
        self.broken = False

    async def _at_once(
        self, asked: Sequence[Asked], over: Sequence[str], pause_s: float, times: int
    ) -> Sequence[Answer]:
        for run_id in over:
            lease = self.world.runs[run_id].lease
            assert lease is not None
            await self.service.pass_time(run_id, lease.token)
        if over:
            await self.service.ring(pause_s)
        sent = (self.service.post(one.request, self.workspace_id) for one in asked for _ in range(times))
        answers = await asyncio.gather(*sent)
        if over:
            await self.service.swept(self.workspace_id)
        return [_the_answer(answers[first : first + times]) for first in range(0, len(answers), times)]

    def _post(self, request: Request) -> Answer:
        answer = self.service.run(self.service.post(request, self.workspace_id))
        assert answer.status == 201, answer
        return answer

    # -- what to do

    def _claim(self, engine: str, wait_s: float = 0) -> Asked:
        engine_id, headers = self._as(engine)
        body: dict[str, Any] = {"lease_ttl_s": 600, "wait_s": wait_s}
        if engine_id is None:
            body["actor_id"] = engine
        return Asked(Command("claim", engine_id=engine_id), Request("/v1/runs/claim", body, headers))

    def _some_claim(self, chance: Random) -> Asked:
        return self._claim(chance.choice(ENGINES))

    def _creation(self, chance: Random) -> Asked:
        body = {"room_id": self.room_id, "priority": chance.randint(-1, 1), "max_attempts": chance.randint(1, 3)}
        return Asked(Command("create", body=body), Request("/v1/runs", body))

    def _some_run(self, chance: Random) -> str:
        """Rather one that goes on than one that has ended."""
        alive = [run_id for run_id, run in self.world.runs.items() if not run.ended]
        return chance.choice(alive if alive and chance.random() < 0.9 else list(self.world.runs))

    def _act(self, chance: Random, run_id: str | None = None) -> Asked:
        """Anything, on a run or on something inside it, by anybody, with a claim token that may be right."""
        run_id = run_id or self._some_run(chance)
        run = self.world.runs[run_id]
        steps, calls = list(run.steps), list(run.calls)
        targets = dict.fromkeys(OF_A_STEP, steps) | dict.fromkeys(OF_A_CALL, calls)
        verbs = [verb for verb in PATHS if targets.get(verb, True)]
        verb = chance.choices(verbs, [WEIGHTS.get(verb, 1) for verb in verbs])[0]
        target = chance.choice(targets[verb]) if verb in targets else ""
        old = [token for token in self.tokens[run_id] if run.lease is None or token != run.lease.token]
        stale = chance.choice(old) if old else new_uuid()
        who = chance.choice(("holder", "holder", "holder", "stale", "nobody", "user"))
        return self._command(verb, run_id, who, chance.choice(ENGINES), target, stale)

    def _command(self, verb: str, run_id: str, who: str, engine: str, target: str = "", stale: str = "") -> Asked:
        lease = self.world.runs[run_id].lease
        token: str | None = None
        if who == "holder" and lease is not None:
            token, engine = lease.token, self.holders[lease.token]
        elif who == "stale" or verb in OF_A_LEASE:
            token = stale
        if verb in WITHOUT_LEASE:
            token = None
        engine_id, headers = self._as(engine)
        body = dict(BODIES.get(verb, {}))
        force = who == "user" and verb not in (*OF_A_LEASE, *WITHOUT_LEASE)
        if force:
            engine_id, headers, body["force"] = None, {}, True
        if token is not None:
            body["claim_token"] = token
        if verb in OF_A_LEASE and engine_id is None:
            body["actor_id"] = engine
        path = PATHS[verb].format(run=run_id, target=target)
        return Asked(Command(verb, run_id, token, engine_id, force, target), Request(path, body, headers))

    def _as(self, engine: str) -> tuple[str | None, dict[str, str]]:
        if engine == ENGINES[0]:
            return self.engine_id, self.credentials
        return None, {"x-actor-type": "service", "x-actor-id": engine}

    def _held(self) -> list[str]:
        return [run_id for run_id, run in self.world.runs.items() if run.lease is not None]

    # -- at the end

    def _end_all(self) -> None:
        if self._held():
            self._perform([], self._held())
        while self.world.queue():
            self._perform([self._claim(ENGINES[1])])
            self._perform([self._command("complete", run_id, "holder", ENGINES[1]) for run_id in self._held()])
        self._perform([self._claim(ENGINES[2])])
        by_hand = [run_id for run_id, run in self.world.runs.items() if run.status == RUNNING]
        for run_id in by_hand:
            self._perform([self._command("complete", run_id, "nobody", ENGINES[2])])
        assert all(run.ended for run in self.world.runs.values())

    async def _look_at_all(self) -> None:
        events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in await self._events():
            events[event["run_id"]].append(event)
        wrong: list[str] = []
        for run_id, run in self.world.runs.items():
            wrong += lease_violations(events[run_id])
            row = (await self.service.get(f"/v1/runs/{run_id}", self.workspace_id))["run"]
            seen = (row["status"], row["claim_token"], row["lease_expires_at"])
            if seen != (run.status, None, None):
                wrong.append(f"{run_id} is {run.status}, and is read as {seen}")
            attempts = (await self.service.get(f"/v1/runs/{run_id}/attempts", self.workspace_id))["attempts"]
            numbers = [attempt["attempt_no"] for attempt in attempts]
            if numbers != list(range(1, run.attempt_no + 1)) or not all(one["released_at"] for one in attempts):
                wrong.append(f"{run_id} had {run.attempt_no} attempts, and is read with {attempts}")
        assert not wrong, "\n".join([*wrong, *self.log[-TOLD:]])

    async def _events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        place = f"/v1/events?stream_type=room&stream_id={self.room_id}&limit=200&from_seq="
        while page := (await self.service.get(f"{place}{len(events)}", self.workspace_id))["events"]:
            events += page
        return events


def _the_answer(answers: Sequence[Answer]) -> Answer:
    """The one answer to a request that was sent several times with one key; some may have met it under way."""
    told = [answer for answer in answers if answer.error != "idempotency_key_in_flight"]
    assert told, answers
    assert all(answer == told[0] for answer in told), f"one key, several answers: {told}"
    return told[0]


@pytest.mark.timeout(900)
def test_every_answer_fits_the_model_whatever_the_schedule(
    cluster: Cluster, fault_seed: int, fault_rounds: int
) -> None:
    with Service(cluster.stack.url, cluster.stack.postgres_url) as service:
        machine = type("Schedule", (Schedule,), {"service": service})
        run_state_machine_as_test(
            seed(fault_seed)(machine),
            settings=settings(
                max_examples=SHORT if fault_rounds == 1 else LONG,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # no shrinking: at other moments the schedule may well pass
                suppress_health_check=list(HealthCheck),
            ),
        )
