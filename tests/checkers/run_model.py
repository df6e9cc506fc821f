"""What a run may do, told once more and in the plainest way: the model that the server is compared with.

A command is compared with its answer: :meth:`World.after` is the world after it, or None when the server may not answer
so. Commands that were under way together must fit in some order (:func:`some_order`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, NamedTuple

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)
OVERDUE = "time is over"  # the command of nobody: the server ends a lease whose time is over


class Command(NamedTuple):
    """Something that somebody asks for.

    Attributes:
        token: claim token that is sent, or None.
        engine_id: whose credentials are sent, or None.
        force: a user insists.
        target: id of the step or tool call.
        body: of ``create``: what was asked for.
    """

    verb: str
    run_id: str = ""
    token: str | None = None
    engine_id: str | None = None
    force: bool = False
    target: str = ""
    body: Mapping[str, Any] = {}


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Mapping[str, Any]

    @property
    def error(self) -> str | None:
        return self.body.get("error")


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease. ``overdue``: its time is over, and the server may end it at any moment."""

    token: str
    engine_id: str | None
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``expired_token`` is that of the last lease, where it ran out."""

    max_attempts: int
    priority: int
    status: str = QUEUED
    started: bool = False
    attempt_no: int = 0
    lease: Lease | None = None
    ended_under: str | None = None
    expired_token: str | None = None
    steps: Mapping[str, bool] = field(default_factory=dict)  # id -> whether it has ended by itself
    calls: Mapping[str, bool] = field(default_factory=dict)  # id -> whether it has ended
    step_of: Mapping[str, str] = field(default_factory=dict)  # of a call
    settled: frozenset[str] = frozenset()  # steps whose last tool call has ended

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def may_write(self, command: Command) -> bool:
        """Whether the lease allows it."""
        if command.force:
            return True
        if command.token is not None:
            return self.lease is not None and command.token == self.lease.token
        return self.lease is None or (command.engine_id is not None and command.engine_id == self.lease.engine_id)

    def end(self, status: str) -> "Run":
        return replace(self, status=status, lease=None, ended_under=self.lease.token if self.lease else None)


@dataclass(frozen=True, slots=True)
class World:
    """All runs of a workspace, in the order in which they were made.

    Attributes:
        in_order: claims take the best run; else any queued one, since the queue may not know of the latest yet.
    """

    runs: Mapping[str, Run] = field(default_factory=dict)
    in_order: bool = False

    def after(self, command: Command, answer: Answer) -> "World | None":
        """The world after a command, or None when this is no answer to it here."""
        if command.verb == "create":
            return self._created(command, answer)
        if command.verb == "claim":
            return self._claimed(command, answer)
        run = self.runs[command.run_id]
        refusal = _refusal(run, command)
        if refusal is not None:
            return self if (answer.status, answer.error) == (409, refusal) else None
        made = {"step": "step_id", "tool": "tool_call_id", "artifact": "artifact_id"}.get(command.verb)
        if answer.status != (200 if made is None else 201):
            return None
        if command.verb == "release" and answer.body["released"] is not (run.lease is not None):
            return None
        new = _changed(run, command, str(answer.body[made]) if made else "")
        return replace(self, runs={**self.runs, command.run_id: new})

    def _created(self, command: Command, answer: Answer) -> "World | None":
        if answer.status != 201 or answer.body["run_id"] in self.runs:
            return None
        new = Run(command.body["max_attempts"], command.body["priority"])
        return replace(self, runs={**self.runs, answer.body["run_id"]: new})

    def _claimed(self, command: Command, answer: Answer) -> "World | None":
        if answer.status != 200:
            return None
        queue = self.queue()
        if not answer.body["claimed"]:
            return None if queue else self
        told = answer.body["run"]
        run_id = told["run_id"]
        if run_id not in queue or (self.in_order and run_id != queue[0]):
            return None
        run = self.runs[run_id]
        number = run.attempt_no + 1
        if (told["attempt_no"], told["fencing_token"]) != (number, number) or told["engine_id"] != command.engine_id:
            return None
        lease = Lease(told["claim_token"], command.engine_id)
        new = replace(run, status=RUNNING, started=True, attempt_no=number, lease=lease, expired_token=None)
        return replace(self, runs={**self.runs, run_id: new})

    def queue(self) -> list[str]:
        """What may be claimed, the best first."""
        queued = [run_id for run_id, run in self.runs.items() if run.status == QUEUED]
        return sorted(queued, key=lambda run_id: -self.runs[run_id].priority)  # keeps the order of age

    def time_is_over(self, run_ids: Iterable[str]) -> "World":
        """The leases of these runs are overdue."""
        new = dict(self.runs)
        for run_id in run_ids:
            lease = new[run_id].lease
            if lease is not None:
                new[run_id] = replace(new[run_id], lease=replace(lease, overdue=True))
        return replace(self, runs=new)

    def overdue(self) -> list[Command]:
        """What the server will do by itself."""
        return [
            Command(OVERDUE, run_id, run.lease.token)
            for run_id, run in self.runs.items()
            if run.lease is not None and run.lease.overdue
        ]


def _refusal(run: Run, command: Command) -> str | None:  # noqa: C901 - a table, in the order in which it is looked at
    """The code of the conflict that the command meets; None when it is done."""
    match command.verb:
        case "heartbeat":
            if run.ended:
                return "run_not_running"
            if run.lease is not None and run.lease.token == command.token:
                return "lease_expired" if run.lease.overdue else None
            expired = run.lease is None and command.token == run.expired_token
            return "lease_expired" if expired else "lease_token_mismatch"
        case "release":
            held = run.lease is not None
            return "lease_token_mismatch" if held and not run.may_write(command) else None
        case "start":
            return "run_not_queued" if run.status != QUEUED or run.started else None
        case "cancel":
            return "run_already_ended" if run.ended else None
        case "complete" | "fail":
            if run.ended:
                return "run_already_ended"
            return None if run.may_write(command) else "lease_token_mismatch"
        case "step" | "step_complete" | "step_fail" | "tool":
            if not run.ended and not run.may_write(command):
                return "lease_token_mismatch"
            if run.status != RUNNING:
                return "run_not_running"
            over = command.verb != "tool" and command.target in run.settled
            return "step_already_ended" if command.target and (over or run.steps[command.target]) else None
        case "tool_succeed" | "tool_fail" | "artifact":
            last_holder = run.ended and command.token == run.ended_under
            if not last_holder and not run.may_write(command):
                return "lease_token_mismatch"
            ended = command.verb != "artifact" and run.calls[command.target]
            return "tool_call_not_running" if ended else None
    return None


def _changed(run: Run, command: Command, made: str) -> Run:
    match command.verb:
        case "release" if run.lease is not None:
            return replace(run, status=QUEUED, lease=None)
        case "start":
            return replace(run, status=RUNNING, started=True)
        case "complete":
            return run.end(SUCCEEDED)
        case "fail":
            return run.end(FAILED)
        case "cancel":
            return run.end(CANCELLED)
        case "step":
            return replace(run, steps={**run.steps, made: False})
        case "step_complete" | "step_fail":
            return replace(run, steps={**run.steps, command.target: True})
        case "tool":
            at, settled = {**run.step_of, made: command.target}, run.settled - {command.target}
            return replace(run, calls={**run.calls, made: False}, step_of=at, settled=settled)
        case "tool_succeed" | "tool_fail":
            settled = run.settled | {run.step_of[command.target]}
            return replace(run, calls={**run.calls, command.target: True}, settled=settled)
        case "time is over" if run.lease is not None and run.lease.token == command.token:
            if run.attempt_no >= run.max_attempts:
                return replace(run.end(FAILED), ended_under=None)
            return replace(run, status=QUEUED, lease=None, expired_token=command.token)
    return run


def some_order(world: World, done: Sequence[tuple[Command, Answer]]) -> World | None:
    """The world after commands that were under way together, in an order in which every answer is right, or None."""
    for order in permutations(done):
        at: World | None = world
        for command, answer in order:
            at = None if at is None else at.after(command, answer)
        if at is not None:
            return at
    return None


# -- what the events themselves must show, whatever the model knows


def lease_violations(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the events of one run: two valid fencing tokens, writes by others, life after the end."""
    history = _History()
    for event in events:
        history.take(event)
    return history.wrong


@dataclass(slots=True)
class _History:
    """A run as its events tell it. ``holder``: fencing token, claim token and actor of the valid lease."""

    status: str = QUEUED
    last: int = 0
    holder: tuple[int, str, str] | None = None
    wrong: list[str] = field(default_factory=list)
    _where: str = ""

    def take(self, event: Mapping[str, Any]) -> None:
        kind = event["event_type"]
        self._where = f"{event['run_id']} at {event['stream_seq']} ({kind})"
        match kind.split("."):
            case ["run", "claimed"]:
                self._claimed(event["data"])
            case ["run", "lease_released" | "lease_expired"]:
                data = event["data"]
                if self.holder is None or self.holder[:2] != (data["attempt_no"], data["claim_token"]):
                    self._say(f"ends a lease that is not held: {self.holder}")
                self.holder, self.status = None, QUEUED
            case ["run", "started"]:
                self.status = RUNNING
            case ["run", "completed" | "failed" | "cancelled" as how]:
                if self.status in ENDED:
                    self._say("ended twice")
                self.holder, self.status = None, SUCCEEDED if how == "completed" else how
            case ["step" | "tool" | "artifact", _]:
                self._inside(event)

    def _claimed(self, data: Mapping[str, Any]) -> None:
        number = data["fencing_token"]
        if self.holder is not None:
            self._say(f"claimed under {number} while {self.holder[0]} is valid")
        if self.status != QUEUED:
            self._say(f"claimed while {self.status}")
        if number != self.last + 1:
            self._say(f"fencing token {number} after {self.last}")
        self.last, self.status = number, RUNNING
        self.holder = (number, data["claim_token"], data["claimed_by_actor_id"])

    def _inside(self, event: Mapping[str, Any]) -> None:
        may_be_late = event["event_type"] in ("tool.succeeded", "tool.failed", "artifact.created")
        if self.status != RUNNING and not may_be_late:
            self._say(f"happens while the run is {self.status}")
        by_engine = event["actor_type"] == "service"
        if self.holder is not None and by_engine and event["actor_id"] != self.holder[2]:
            self._say(f"by {event['actor_id']} while {self.holder[2]} holds it")

    def _say(self, what: str) -> None:
        self.wrong.append(f"{self._where}: {what}")
