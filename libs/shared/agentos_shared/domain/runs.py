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
from agentos_shared.domain.envelope import ZONES, Actor, Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Invalid, NotFound
from agentos_shared.domain.experiments import Experiment
from agentos_shared.domain.rooms import Room
from agentos_shared.domain.threads import Thread

MAX_ATTEMPTS: Final = 3

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=20_000)]
ShortText = Annotated[str, Field(max_length=500)]
#: Of other entities, as the caller gives it; whether there is such is looked up.
Id = Annotated[str, Field(min_length=1, max_length=64)]


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
        stop_acknowledged: whether the holder of the lease has said that it stopped.
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
    stop_acknowledged: bool = False

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")


def highest(*zones: Zone | None) -> Zone:
    """The zone with the strictest rules; ``sandbox`` when none is given."""
    return max((zone for zone in zones if zone), key=ZONES.index, default="sandbox")


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
        of_run(
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
        raise not_queued(run)
    expect_version(command, view)
    return [of_run(command, run, "run.started", {})]


def complete(command: Command[CompleteRun], view: View) -> list[NewEvent]:
    """``run.completed``.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_already_ended``, ``lease_token_mismatch``.
    """
    run = _not_ended(command, view)
    require_lease(command, run)
    expect_version(command, view)
    return [of_run(command, run, "run.completed", {"summary": command.body.summary, "output": command.body.output})]


def fail(command: Command[FailRun], view: View) -> list[NewEvent]:
    """``run.failed``.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_already_ended``, ``lease_token_mismatch``.
    """
    run = _not_ended(command, view)
    require_lease(command, run)
    expect_version(command, view)
    return [failed(command, run, command.body.message, error_of(command.body.message, command.body.error))]


def cancel(command: Command[CancelRun], view: View) -> list[NewEvent]:
    """``run.cancelled``, whoever holds it.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_already_ended``.
    """
    run = _not_ended(command, view)
    expect_version(command, view)
    return [of_run(command, run, "run.cancelled", {"reason": command.body.reason})]


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
            return replace(state, status="running", attempt_no=lease.attempt_no, lease=lease, stop_acknowledged=False)
        case "run.started":
            return replace(state, status="running", started=True)
        case "run.lease_released" | "run.lease_expired":
            return replace(state, status="queued", lease=None)
        case "run.stop_acknowledged":
            return replace(state, stop_acknowledged=True)
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
            raise mismatch()
        return
    if lease is not None and (meta.engine is None or meta.engine.engine_id != lease.engine_id):
        raise mismatch()


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


def of_run(
    command: Command[Any], run: Run, event_type: str, data: dict[str, Any], actor: Actor | None = None
) -> NewEvent:
    """An event of the run itself, by whoever asks or by ``actor``."""
    event = inside(command, command.entity_id, run, event_type, "run", {"run_id": command.entity_id, **data})
    return event if actor is None else event._replace(actor=actor)


def failed(command: Command[Any], run: Run, message: str | None, error: dict[str, Any] | None) -> NewEvent:
    """``run.failed``."""
    return of_run(command, run, "run.failed", {"message": message, "error": error})


def _not_ended(command: Command[Any], view: View) -> Run:
    run = known(view, command.entity_id)
    if run.ended:
        raise Conflict("run_already_ended", f"The run has ended before: it {_ENDED[run.status]}.")
    return run


_ENDED: Final = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}


def _ended(run: Run, status: Status) -> Run:
    return replace(run, status=status, lease=None, ended_under=run.lease.claim_token if run.lease else None)


def not_queued(run: Run) -> Conflict:
    """``run_not_queued``."""
    what = "was started before" if run.status == "queued" else f"is {run.status}"
    return Conflict("run_not_queued", f"The run {what}.", run_status=run.status)


def mismatch() -> Conflict:
    """``lease_token_mismatch``."""
    return Conflict(
        "lease_token_mismatch",
        "The run is not held by this claim token: its lease is another's by now, or nobody's. Stop working on it.",
    )
