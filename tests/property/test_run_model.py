"""Random commands on runs and what is in them: the writer's draft against a model that is nothing but tables.

The model knows, for each command, what is refused with which code, in the order in which it is refused, and what state
an accepted one leaves. Leases are drawn among the current token, older ones and none at all, so lost leases are common.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentos_api.append.draft import Draft
from agentos_api.append.stream_cache import StreamCache, fold
from agentos_api.append.submission import Answer, Outcome, Part, Submission
from agentos_shared.domain import artifacts, ids, leases, principals, rooms, runs, steps, tool_calls
from agentos_shared.domain.artifacts import Kept
from agentos_shared.domain.decider import Command, CommandBody, Decide, Meta
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.runs import Run

MOMENT = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
ROOM = Stream("room", "room_1")
ADA = principals.actor("ws_1", "user", "ada")
BOT = principals.actor("ws_1", "service", "bot")
FAMILY = ("run", "step", "tool_call", "artifact")


@dataclass
class ModelRun:
    """What the rules say of a run."""

    max_attempts: int
    status: str = "queued"
    started: bool = False
    attempts: int = 0
    token: str | None = None
    last_token: str | None = None
    tokens: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")

    def end(self, status: str) -> None:
        self.status, self.last_token, self.token = status, self.token, None


@dataclass
class ModelStep:
    run: str
    ended: bool = False
    last_of_tools: str | None = None


@dataclass
class ModelCall:
    run: str
    step: str
    running: bool = True


pick = st.integers(0, 30)
#: Which token a write carries: the current one, an older one, an invented one, none.
proofs = st.sampled_from(["current", "current", "current", "old", "invented", "none"])
forces = st.sampled_from([False, False, False, True])


class RunMachine(RuleBasedStateMachine):
    """One room, many runs."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = StreamCache()
        self.events: list[Event] = []
        self.runs: dict[str, ModelRun] = {}
        self.steps: dict[str, ModelStep] = {}
        self.calls: dict[str, ModelCall] = {}
        self.numbers = 0

    # -- the writer

    def send(
        self,
        decide: Decide,
        body: CommandBody,
        entity_id: str,
        reads: tuple[str, ...] = (),
        parent_id: str | None = None,
        token: str | None = None,
        *,
        service: bool = False,
    ) -> list[str] | str:
        """Types of the events, or the code of the refusal."""
        meta = Meta("ws_1", BOT if service else ADA, "c-1", None, token)
        loaded: Any = "rat_1"
        if isinstance(body, artifacts.CreateArtifact):
            loaded = Kept({"type": "none"}, None, None)
        elif isinstance(body, steps.CompleteStep | steps.FailStep):
            tools = [e.event_type for e in self.events if e.step_id == entity_id and e.entity_type == "tool_call"]
            loaded = tools[-1] if tools else None
        command = Command(body, meta, entity_id, parent_id, ROOM.id, loaded)
        loaded_entries = {read: (ROOM, fold(self.life(read))) for read in reads if self.cache.entry(ROOM, read) is None}
        draft = Draft(self.cache, {}, loaded_entries, MOMENT, ids.new_event_id)
        told: list[Outcome] = []

        def render(outcomes: Sequence[Outcome]) -> Answer:
            told.extend(outcomes)
            return Answer(200, b"")

        submission = Submission([Part(command, decide, ROOM, reads, not self.events)], render)
        draft.add(submission)
        draft.settle()
        (outcome,) = told
        if isinstance(outcome, DomainError):
            assert not draft.events, "a refusal appends nothing"
            return outcome.code
        self.events += draft.events
        return [event.event_type for event in draft.events]

    def life(self, entity_id: str) -> list[Event]:
        """As the store reads an entity: its events, and the last of its family where that is another's."""
        own = [event for event in self.events if event.entity_id == entity_id]
        if own and own[0].entity_type == "run":
            family = [event for event in self.events if event.run_id == entity_id and event.entity_type in FAMILY]
            own += [family[-1]] if family[-1].entity_id != entity_id else []
        return own

    def draw(self, prefix: str) -> str:
        self.numbers += 1
        return f"{prefix}{self.numbers}"

    @initialize()
    def open_room(self) -> None:
        assert self.send(rooms.create, rooms.CreateRoom(title="Ops"), ROOM.id) == ["room.created"]

    @rule(forgotten=st.booleans())
    def forget(self, forgotten: bool) -> None:
        """Another process wrote: everything is read from the store again."""
        if forgotten:
            head = self.cache.head(ROOM)
            self.cache.forget([ROOM])
            if head is not None:
                self.cache.remember(ROOM, head)

    # -- runs

    @rule(max_attempts=st.integers(1, 3))
    def create(self, max_attempts: int) -> None:
        run_id = self.draw("run_")
        body = runs.CreateRun(room_id=ROOM.id, max_attempts=max_attempts, timeout_s=9)
        assert self.send(runs.create, body, run_id, (ROOM.id,)) == ["run.created"]
        self.runs[run_id] = ModelRun(max_attempts)

    def a_run(self, number: int) -> tuple[str, ModelRun]:
        run_id = list(self.runs)[number % len(self.runs)]
        return run_id, self.runs[run_id]

    @precondition(lambda self: self.runs)
    @rule(number=pick)
    def start(self, number: int) -> None:
        run_id, run = self.a_run(number)
        got = self.send(runs.start, runs.StartRun(), run_id, (run_id,))
        if run.status != "queued" or run.started:
            assert got == "run_not_queued"
            return
        assert got == ["run.started"]
        run.status, run.started = "running", True

    @precondition(lambda self: self.runs)
    @rule(number=pick, again=st.booleans())
    def claim(self, number: int, again: bool) -> None:
        run_id, run = self.a_run(number)
        token = run.token if again and run.token else self.draw("token_")
        body = leases.ClaimRun(
            claim_token=token,
            claimed_by_actor_id="bot",
            actor_principal_id=BOT.principal_id,
            lease_ttl_s=30,
            lease_expires_at="2026-11-24T05:30:30.000Z",
        )
        got = self.send(leases.claim, body, run_id, (run_id,), service=True)
        if token == run.token:
            assert got == []
        elif run.status != "queued":
            assert got == "run_not_queued"
        else:
            assert got == (["run.claimed"] if run.started else ["run.claimed", "run.started"])
            run.status, run.started, run.token = "running", True, token
            run.attempts += 1
            run.tokens.append(token)

    def a_token(self, run: ModelRun, proof: str) -> str | None:
        match proof:
            case "current":
                return run.token
            case "old":
                return run.tokens[0] if run.tokens else None
            case "invented":
                return "invented"
        return None

    @precondition(lambda self: self.runs)
    @rule(number=pick, proof=proofs)
    def release(self, number: int, proof: str) -> None:
        run_id, run = self.a_run(number)
        token = self.a_token(run, proof) or "invented"
        got = self.send(leases.release, leases.ReleaseRun(claim_token=token), run_id, (run_id,), service=True)
        if run.token is None:
            assert got == []
        elif token != run.token:
            assert got == "lease_token_mismatch"
        else:
            assert got == ["run.lease_released"]
            run.status, run.token = "queued", None

    @precondition(lambda self: self.runs)
    @rule(number=pick, proof=proofs)
    def expire(self, number: int, proof: str) -> None:
        run_id, run = self.a_run(number)
        token = self.a_token(run, proof) or "invented"
        attempt_no = run.tokens.index(token) + 1 if token in run.tokens else 1
        body = leases.ExpireRun(attempt_no=attempt_no, claim_token=token)
        got = self.send(leases.expire, body, run_id, (run_id,), service=True)
        if token != run.token:
            assert got == []
        elif run.attempts < run.max_attempts:
            assert got == ["run.lease_expired"]
            run.status, run.token = "queued", None
        else:
            assert got == ["run.lease_expired", "run.failed"]
            run.token = None
            run.end("failed")

    @precondition(lambda self: self.runs)
    @rule(number=pick, behind=st.integers(0, 1))
    def time_out(self, number: int, behind: int) -> None:
        run_id, run = self.a_run(number)
        attempt_no = max(0, run.attempts - behind)
        got = self.send(leases.time_out, leases.TimeOutRun(attempt_no=attempt_no), run_id, (run_id,), service=True)
        if run.status != "running" or attempt_no != run.attempts:
            assert got == []
        else:
            assert got == ["run.failed"]
            run.end("failed")

    def lost(self, run: ModelRun, token: str | None, *, forced: bool) -> bool:
        """Whether a write shows no right to write."""
        return not forced and token != run.token if token is not None or run.token is not None else False

    @precondition(lambda self: self.runs)
    @rule(number=pick, proof=proofs, force=forces, service=st.booleans(), how=st.sampled_from(["complete", "fail"]))
    def end(self, number: int, proof: str, force: bool, service: bool, how: str) -> None:
        run_id, run = self.a_run(number)
        token = self.a_token(run, proof)
        decide: Decide = runs.complete if how == "complete" else runs.fail
        body = runs.CompleteRun(force=force) if how == "complete" else runs.FailRun(force=force, message="no")
        got = self.send(decide, body, run_id, (run_id,), token=token, service=service)
        if run.ended:
            assert got == "run_already_ended"
        elif self.lost(run, token, forced=force and not service):
            assert got == "lease_token_mismatch"
        else:
            assert got == ["run.completed" if how == "complete" else "run.failed"]
            run.end("succeeded" if how == "complete" else "failed")

    @precondition(lambda self: self.runs)
    @rule(number=pick)
    def cancel(self, number: int) -> None:
        run_id, run = self.a_run(number)
        got = self.send(runs.cancel, runs.CancelRun(), run_id, (run_id,))
        if run.ended:
            assert got == "run_already_ended"
        else:
            assert got == ["run.cancelled"]
            run.end("cancelled")

    # -- inside runs

    def refusal(self, run: ModelRun, token: str | None) -> str | None:
        """Why nothing can be done in a run under this token."""
        if run.ended:
            return "run_not_running"
        if self.lost(run, token, forced=False):
            return "lease_token_mismatch"
        return None if run.status == "running" else "run_not_running"

    @precondition(lambda self: self.runs)
    @rule(number=pick, proof=proofs)
    def create_step(self, number: int, proof: str) -> None:
        run_id, run = self.a_run(number)
        token, step_id = self.a_token(run, proof), self.draw("step_")
        got = self.send(steps.create, steps.CreateStep(kind="x"), step_id, (run_id,), run_id, token)
        refusal = self.refusal(run, token)
        assert got == (refusal or ["step.created"])
        if refusal is None:
            self.steps[step_id] = ModelStep(run_id)

    def a_step(self, number: int) -> tuple[str, ModelStep, ModelRun]:
        step_id = list(self.steps)[number % len(self.steps)]
        step = self.steps[step_id]
        return step_id, step, self.runs[step.run]

    @precondition(lambda self: self.steps)
    @rule(number=pick, proof=proofs, how=st.sampled_from(["complete", "fail"]))
    def end_step(self, number: int, proof: str, how: str) -> None:
        step_id, step, run = self.a_step(number)
        token = self.a_token(run, proof)
        decide: Decide = steps.complete if how == "complete" else steps.fail
        body: CommandBody = steps.CompleteStep() if how == "complete" else steps.FailStep()
        got = self.send(decide, body, step_id, (step_id, step.run), token=token)
        over = step.ended or step.last_of_tools == "ended"
        refusal = self.refusal(run, token) or ("step_already_ended" if over else None)
        assert got == (refusal or ["step.completed" if how == "complete" else "step.failed"])
        step.ended = step.ended or refusal is None

    @precondition(lambda self: self.steps)
    @rule(number=pick, proof=proofs, named=st.sampled_from([True, True, True, False]))
    def invoke(self, number: int, proof: str, named: bool) -> None:
        step_id, step, run = self.a_step(number)
        token, call_id = self.a_token(run, proof), self.draw("tc_")
        body = tool_calls.InvokeTool(tool_name="echo" if named else None)
        got = self.send(tool_calls.invoke, body, call_id, (step_id, step.run), step_id, token)
        refusal = self.refusal(run, token) or ("step_already_ended" if step.ended else None)
        refusal = refusal or (None if named else "missing_tool_name")
        assert got == (refusal or ["tool.invoked"])
        if refusal is None:
            self.calls[call_id] = ModelCall(step.run, step_id)
            step.last_of_tools = "invoked"

    @precondition(lambda self: self.calls)
    @rule(number=pick, proof=proofs, how=st.sampled_from(["succeed", "fail"]))
    def end_call(self, number: int, proof: str, how: str) -> None:
        call_id = list(self.calls)[number % len(self.calls)]
        call = self.calls[call_id]
        run = self.runs[call.run]
        token = self.a_token(run, proof)
        decide: Decide = tool_calls.succeed if how == "succeed" else tool_calls.fail
        body: CommandBody = tool_calls.SucceedTool() if how == "succeed" else tool_calls.FailTool()
        got = self.send(decide, body, call_id, (call_id, call.run), token=token)
        if self.late(run, token):
            assert got == "lease_token_mismatch"
        elif not call.running:
            assert got == "tool_call_not_running"
        else:
            assert got == ["tool.succeeded" if how == "succeed" else "tool.failed"]
            call.running = False
            self.steps[call.step].last_of_tools = "ended"

    @precondition(lambda self: self.steps)
    @rule(number=pick, proof=proofs)
    def create_artifact(self, number: int, proof: str) -> None:
        step_id, step, run = self.a_step(number)
        token = self.a_token(run, proof)
        body = artifacts.CreateArtifact(kind="note")
        got = self.send(artifacts.create, body, self.draw("art_"), (step_id, step.run), step_id, token)
        assert got == ("lease_token_mismatch" if self.late(run, token) else ["artifact.created"])

    def late(self, run: ModelRun, token: str | None) -> bool:
        """Of what may still come when a run has ended, under the lease that it ended under."""
        return self.lost(run, token, forced=False) and not (run.ended and token == run.last_token)

    # -- what always holds

    @invariant()
    def states_are_the_models(self) -> None:
        for run_id, run in self.runs.items():
            state = fold(self.life(run_id)).state
            assert isinstance(state, Run)
            assert (state.status, state.started, state.attempt_no) == (run.status, run.started, run.attempts)
            assert (state.lease.claim_token if state.lease else None) == run.token

    @invariant()
    def fencing_tokens_only_grow_and_runs_start_once(self) -> None:
        for run_id in self.runs:
            own = [event for event in self.events if event.entity_id == run_id]
            fences = [event.data["fencing_token"] for event in own if event.event_type == "run.claimed"]
            assert fences == list(range(1, len(fences) + 1))
            assert sum(event.event_type == "run.started" for event in own) <= 1

    def teardown(self) -> None:
        for run_id in self.runs:
            family = [event for event in self.events if event.run_id == run_id and event.entity_type in FAMILY]
            for before, after in pairwise(family):
                assert after.causation_id == before.event_id
                assert after.correlation_id == before.correlation_id
        assert [event.stream_seq for event in self.events] == list(range(1, len(self.events) + 1))


TestRuns = RunMachine.TestCase
TestRuns.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
