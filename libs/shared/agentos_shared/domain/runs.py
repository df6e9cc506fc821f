"""Runs: pieces of work that an engine claims, or that somebody starts by hand, with all that happens inside them.

::

    queued -- claimed, started --> running -- completed --> succeeded
       ^                              |    -- failed -----> failed
       +-- lease released, expired ---+    -- cancelled --> cancelled

A run can be ended from ``queued`` as well; nothing leaves an ended state. What a run holds (steps, tool calls,
artifacts) is folded entity by entity, and is one line of causation: see ``RUN_FAMILY``.

A lease is known by its claim token and its number, the fencing token, which is the attempt's and only grows. While one
is held, whoever writes under the run shows that it is theirs (:func:`require_lease`). Its time is kept by the engine
service; here it ends by an event.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field

from agentos_shared.domain.decider import Command, CommandBody, LeasedBody, View, expect_version
from agentos_shared.domain.envelope import Actor, ActorType, Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Invalid, NotFound
from agentos_shared.domain.experiments import Experiment
from agentos_shared.domain.rooms import Room
from agentos_shared.domain.threads import Thread

MAX_ATTEMPTS: Final = 3
MIN_LEASE_S: Final = 5
MAX_LEASE_S: Final = 600

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=20_000)]
ShortText = Annotated[str, Field(max_length=500)]
#: Of other entities, as the caller gives it; whether there is such is looked up.
Id = Annotated[str, Field(min_length=1, max_length=64)]

_ZONES: Final[tuple[Zone, ...]] = ("sandbox", "supervised", "high_stakes")


class CreateRun(CommandBody):
    """Queues a run in a room. Engines claim runs by priority (higher first), then age."""

    room_id: Id
    thread_id: Id | None = None
    experiment_id: Id | None = None
    title: ShortText | None = None
    goal: Text | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    tags: list[Tag] = Field(default_factory=list, max_length=64)
    max_attempts: int = Field(MAX_ATTEMPTS, ge=1, le=100)
    priority: int = Field(0, ge=-100, le=100)
    timeout_s: int | None = Field(None, ge=1, le=86_400)
    zone: Zone | None = None


class StartRun(CommandBody):
    """Starts a queued run by hand, without a lease: no engine can claim it any more."""


class CompleteRun(LeasedBody):
    """Ends a run with success."""

    summary: Text | None = None
    output: dict[str, Any] | None = None


class FailRun(LeasedBody):
    """Ends a run with failure. ``message`` without ``error`` is kept as ``{message}``."""

    message: Text | None = None
    error: dict[str, Any] | None = None


class CancelRun(CommandBody):
    """Ends a run whoever holds it: what the holder writes afterwards is refused."""

    reason: Text | None = None


class _EngineServiceBody(CommandBody):
    def speaker(self) -> tuple[ActorType, str]:
        """The engine service, which keeps the time of leases."""
        return "service", "engine"


class ClaimRun(_EngineServiceBody):
    """Gives a queued run to an engine. With ``expected_version`` it loses against whatever changed the run before."""

    claim_token: str = Field(min_length=1, max_length=64)
    run_attempt_id: Id | None = None
    claimed_by_actor_id: str = Field(min_length=1, max_length=200)
    actor_principal_id: str = Field(min_length=1, max_length=64)
    engine_id: Id | None = None
    lease_ttl_s: int = Field(ge=MIN_LEASE_S, le=MAX_LEASE_S)
    lease_expires_at: str = Field(min_length=1, max_length=64)


class ReleaseRun(_EngineServiceBody):
    """Gives a lease back: the run is queued again. Once nothing is held, nothing happens."""

    claim_token: str = Field(min_length=1, max_length=64)


class ExpireRun(_EngineServiceBody):
    """Ends a lease whose time is over; of a lease that has ended since, nothing happens."""

    attempt_no: int = Field(ge=1)
    claim_token: str = Field(min_length=1, max_length=64)


class TimeOutRun(_EngineServiceBody):
    """Fails a run whose attempt took longer than ``timeout_s``; once that attempt has ended, nothing happens."""

    attempt_no: int = Field(ge=0)
    claim_token: str | None = Field(None, min_length=1, max_length=64)


class Lease(NamedTuple):
    """Who holds a run. ``attempt_no`` is the fencing token."""

    attempt_no: int
    claim_token: str
    run_attempt_id: str
    claimed_by_actor_id: str
    engine_id: str | None
    actor_principal_id: str
    lease_ttl_s: int
    lease_expires_at: str

    def told(self, run_id: str) -> dict[str, Any]:
        """``data`` of ``run.claimed``."""
        return {"run_id": run_id, "fencing_token": self.attempt_no, **self._asdict()}


@dataclass(frozen=True, slots=True)
class Run:
    """What decisions read of a run.

    Attributes:
        started: whether there was ``run.started``, which there is once.
        attempt_no: leases given so far.
        ended_under: claim token of the lease that was held when the run ended.
    """

    workspace_id: str
    room_id: str
    thread_id: str | None
    mission_id: str | None
    experiment_id: str | None
    zone: Zone
    correlation_id: str
    max_attempts: int
    timeout_s: int | None
    status: Status = "queued"
    started: bool = False
    attempt_no: int = 0
    lease: Lease | None = None
    ended_under: str | None = None

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")


def highest(*zones: Zone | None) -> Zone:
    """The zone with the strictest rules; ``sandbox`` when none is given."""
    return max((zone for zone in zones if zone), key=_ZONES.index, default="sandbox")


def create(command: Command[CreateRun], view: View) -> list[NewEvent]:
    """``run.created`` in the room's stream.

    Raises:
        NotFound: ``room_not_found``, ``thread_not_found`` (also of another room), ``experiment_not_found``.
        Invalid: ``experiment_room_mismatch``. Conflict: ``experiment_not_open``.
    """
    body = command.body
    room = view.get(Room, body.room_id)
    if room is None:
        raise NotFound("room_not_found", "There is no such room in this workspace.")
    if body.thread_id is not None:
        thread = view.get(Thread, body.thread_id)
        if thread is None or thread.room_id != body.room_id:
            raise NotFound("thread_not_found", "There is no such thread in this room.")
    if body.experiment_id is not None:
        experiment = view.get(Experiment, body.experiment_id)
        if experiment is None:
            raise NotFound("experiment_not_found", "There is no such experiment in this workspace.")
        if experiment.room_id is not None and experiment.room_id != body.room_id:
            raise Invalid("experiment_room_mismatch", "The experiment belongs to another room.")
        if experiment.status != "open":
            raise Conflict("experiment_not_open", "The experiment has ended: it takes no more runs.")
    expect_version(command, view)
    run = Run(
        command.meta.workspace_id,
        body.room_id,
        body.thread_id,
        room.mission_id,
        body.experiment_id,
        highest(room.zone, body.zone),
        command.meta.correlation_id,
        body.max_attempts,
        body.timeout_s,
    )
    return [
        _event(
            command,
            run,
            "run.created",
            {
                "experiment_id": body.experiment_id,
                "title": body.title,
                "goal": body.goal,
                "input": body.input,
                "tags": body.tags,
                "max_attempts": body.max_attempts,
                "priority": body.priority,
                "timeout_s": body.timeout_s,
            },
        )
    ]


def start(command: Command[StartRun], view: View) -> list[NewEvent]:
    """``run.started``, without a lease.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_not_queued``, also of a run that an engine has had before.
    """
    run = known(view, command.entity_id)
    if run.status != "queued" or run.started:
        raise _not_queued(run)
    expect_version(command, view)
    return [_event(command, run, "run.started", {})]


def claim(command: Command[ClaimRun], view: View) -> list[NewEvent]:
    """``run.claimed``, before ``run.started`` the first time; nothing when this very claim was appended before.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_not_queued``, ``version_conflict``.
    """
    body = command.body
    run = known(view, command.entity_id)
    if run.lease is not None and run.lease.claim_token == body.claim_token:
        return []
    if run.status != "queued":
        raise _not_queued(run)
    expect_version(command, view)
    lease = Lease(
        run.attempt_no + 1,
        body.claim_token,
        body.run_attempt_id or command.loaded,
        body.claimed_by_actor_id,
        body.engine_id,
        body.actor_principal_id,
        body.lease_ttl_s,
        body.lease_expires_at,
    )
    engine = Actor("service", body.claimed_by_actor_id, body.actor_principal_id)
    events = [_event(command, run, "run.claimed", lease.told(command.entity_id), engine)]
    if not run.started:
        events.append(_event(command, run, "run.started", {}, engine))
    return events


def release(command: Command[ReleaseRun], view: View) -> list[NewEvent]:
    """``run.lease_released``, or nothing when nothing is held.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``lease_token_mismatch``.
    """
    body = command.body
    run = known(view, command.entity_id)
    if run.lease is None:
        return []
    if run.lease.claim_token != body.claim_token:
        raise _mismatch()
    expect_version(command, view)
    data = {"attempt_no": run.attempt_no, "claim_token": body.claim_token, "reason": "manual_release"}
    return [_event(command, run, "run.lease_released", data)]


def expire(command: Command[ExpireRun], view: View) -> list[NewEvent]:
    """``run.lease_expired``, and ``run.failed`` (``attempts_exhausted``) when it was the last attempt.

    Raises:
        NotFound: ``run_not_found``.
    """
    body = command.body
    run = known(view, command.entity_id)
    if run.lease is None or (run.lease.attempt_no, run.lease.claim_token) != (body.attempt_no, body.claim_token):
        return []
    expect_version(command, view)
    data = {"attempt_no": body.attempt_no, "claim_token": body.claim_token}
    events = [_event(command, run, "run.lease_expired", data)]
    if run.attempt_no >= run.max_attempts:
        events.append(_failed(command, run, "attempts exhausted", {"code": "attempts_exhausted"}))
    return events


def time_out(command: Command[TimeOutRun], view: View) -> list[NewEvent]:
    """``run.failed`` (``run_timeout``).

    Raises:
        NotFound: ``run_not_found``.
    """
    body = command.body
    run = known(view, command.entity_id)
    if run.status != "running" or run.attempt_no != body.attempt_no:
        return []
    expect_version(command, view)
    return [_failed(command, run, f"not done within {run.timeout_s} s", {"code": "run_timeout"})]


def complete(command: Command[CompleteRun], view: View) -> list[NewEvent]:
    """``run.completed``.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_already_ended``, ``lease_token_mismatch``.
    """
    run = _not_ended(command, view)
    require_lease(command, run)
    expect_version(command, view)
    return [_event(command, run, "run.completed", {"summary": command.body.summary, "output": command.body.output})]


def fail(command: Command[FailRun], view: View) -> list[NewEvent]:
    """``run.failed``.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_already_ended``, ``lease_token_mismatch``.
    """
    run = _not_ended(command, view)
    require_lease(command, run)
    expect_version(command, view)
    return [_failed(command, run, command.body.message, error_of(command.body.message, command.body.error))]


def cancel(command: Command[CancelRun], view: View) -> list[NewEvent]:
    """``run.cancelled``, whoever holds it.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_already_ended``.
    """
    run = _not_ended(command, view)
    expect_version(command, view)
    return [_event(command, run, "run.cancelled", {"reason": command.body.reason})]


def evolve(state: Run | None, event: Event) -> Run | None:
    """Fold one event of a run."""
    if event.event_type == "run.created" and event.room_id is not None:
        data = event.data
        return Run(
            event.workspace_id,
            event.room_id,
            event.thread_id,
            event.mission_id,
            data["experiment_id"],
            event.zone,
            event.correlation_id,
            data["max_attempts"],
            data["timeout_s"],
        )
    if state is None:
        return None
    match event.event_type:
        case "run.claimed":
            data = event.data
            lease = Lease(**{name: data[name] for name in Lease._fields})
            return replace(state, status="running", attempt_no=lease.attempt_no, lease=lease)
        case "run.started":
            return replace(state, status="running", started=True)
        case "run.lease_released" | "run.lease_expired":
            return replace(state, status="queued", lease=None)
        case "run.completed":
            return _ended(state, "succeeded")
        case "run.failed":
            return _ended(state, "failed")
        case "run.cancelled":
            return _ended(state, "cancelled")
    return state


# -- for everything inside a run


def known(view: View, run_id: str | None) -> Run:
    """A run's state. Raises NotFound: ``run_not_found``."""
    run = view.get(Run, run_id) if run_id else None
    if run is None:
        raise NotFound("run_not_found", "There is no such run in this workspace.")
    return run


def require_running(command: Command[LeasedBody], run: Run) -> None:
    """What is done inside a run is done while it runs, under its lease.

    A holder that lost its lease hears just that, though the run may be queued again by now.

    Raises:
        Conflict: ``run_not_running``, ``lease_token_mismatch``.
    """
    if not run.ended:
        require_lease(command, run)
    if run.status != "running":
        raise Conflict("run_not_running", f"The run is {run.status}, not running.", run_status=run.status)


def require_lease(command: Command[LeasedBody], run: Run) -> None:
    """Refuse a write by somebody else than the holder of the run's lease, and any with a token that is not the current.

    Raises:
        Conflict: ``lease_token_mismatch``.
    """
    meta, lease = command.meta, run.lease
    if command.body.force and meta.actor.type == "user":
        return
    if meta.claim_token is not None:
        if lease is None or meta.claim_token != lease.claim_token:
            raise _mismatch()
        return
    if lease is not None and (meta.engine is None or meta.engine.engine_id != lease.engine_id):
        raise _mismatch()


def require_lease_or_end(command: Command[LeasedBody], run: Run) -> None:
    """As :func:`require_lease`, for what may still come when the run has ended: then the last holder may write, too.

    Raises:
        Conflict: ``lease_token_mismatch``.
    """
    if not run.ended or command.meta.claim_token != run.ended_under:
        require_lease(command, run)


def inside(
    command: Command[Any],
    run_id: str,
    run: Run,
    event_type: str,
    entity_type: str,
    data: dict[str, Any],
    *,
    step_id: str | None = None,
    zone: Zone | None = None,
    policy_context: dict[str, Any] | None = None,
) -> NewEvent:
    """An event of something inside a run: where and to what it belongs is the run's."""
    event = NewEvent(
        event_type=event_type,
        stream=Stream("room", run.room_id),
        workspace_id=run.workspace_id,
        entity_type=entity_type,
        entity_id=command.entity_id,
        mission_id=run.mission_id,
        room_id=run.room_id,
        thread_id=run.thread_id,
        run_id=run_id,
        step_id=step_id,
        actor=command.meta.actor,
        zone=zone or run.zone,
        correlation_id=run.correlation_id,
        idempotency_key=command.meta.idempotency_key,
        data=data,
    )
    return event._replace(policy_context=policy_context, model_context={}, display={}) if policy_context else event


def error_of(message: str | None, error: dict[str, Any] | None) -> dict[str, Any] | None:
    """The error of something that failed: as given, else made of the message."""
    if error is None and message is not None:
        return {"message": message}
    return error


def _event(
    command: Command[Any], run: Run, event_type: str, data: dict[str, Any], actor: Actor | None = None
) -> NewEvent:
    event = inside(command, command.entity_id, run, event_type, "run", {"run_id": command.entity_id, **data})
    return event if actor is None else event._replace(actor=actor)


def _failed(command: Command[Any], run: Run, message: str | None, error: dict[str, Any] | None) -> NewEvent:
    return _event(command, run, "run.failed", {"message": message, "error": error})


def _not_ended(command: Command[Any], view: View) -> Run:
    run = known(view, command.entity_id)
    if run.ended:
        raise Conflict("run_already_ended", f"The run has ended before: it {_ENDED[run.status]}.")
    return run


_ENDED: Final = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}


def _ended(run: Run, status: Status) -> Run:
    return replace(run, status=status, lease=None, ended_under=run.lease.claim_token if run.lease else None)


def _not_queued(run: Run) -> Conflict:
    what = "was started before" if run.status == "queued" else f"is {run.status}"
    return Conflict("run_not_queued", f"The run {what}.", run_status=run.status)


def _mismatch() -> Conflict:
    return Conflict(
        "lease_token_mismatch",
        "The run is not held by this claim token: its lease is another's by now, or nobody's. Stop working on it.",
    )
