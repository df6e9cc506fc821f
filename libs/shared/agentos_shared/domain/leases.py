"""Leases of runs: given to engines, given back, run out. What the engine service asks for on their behalf.

When a lease begins and ends is decided here, on the run as the events tell it; how long it lasts is kept by the engine
service, which says when it is over.
"""

from typing import Final

from pydantic import Field

from agentos_shared.domain import runs
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Actor, ActorType, NewEvent
from agentos_shared.domain.kill_switches import KillSwitches, require_none_stopping, switches_id
from agentos_shared.domain.runs import Id, Lease, StartRun

MIN_LEASE_S: Final = 5
MAX_LEASE_S: Final = 600


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


class AcknowledgeStop(_EngineServiceBody):
    """Says that the holder has stopped, as a kill switch asks. Once said, or where none is engaged, nothing happens."""

    claim_token: str = Field(min_length=1, max_length=64)


def start(command: Command[StartRun], view: View) -> list[NewEvent]:
    """As :func:`runs.start`, unless a switch lets no run begin. Raises Conflict: ``kill_switch_active``."""
    events = runs.start(command, view)
    run = runs.known(view, command.entity_id)
    require_none_stopping(view, run.workspace_id, run.room_id)
    return events


def claim(command: Command[ClaimRun], view: View) -> list[NewEvent]:
    """``run.claimed``, before ``run.started`` the first time; nothing when this very claim was appended before.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_not_queued``, ``version_conflict``, ``kill_switch_active``.
    """
    body = command.body
    run = runs.known(view, command.entity_id)
    if run.lease is not None and run.lease.claim_token == body.claim_token:
        return []
    if run.status != "queued":
        raise runs.not_queued(run)
    expect_version(command, view)
    names = (body.claimed_by_actor_id, body.actor_principal_id)
    require_none_stopping(view, run.workspace_id, run.room_id, names)
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
    events = [runs.of_run(command, run, "run.claimed", lease.told(command.entity_id), engine)]
    if not run.started:
        events.append(runs.of_run(command, run, "run.started", {}, engine))
    return events


def release(command: Command[ReleaseRun], view: View) -> list[NewEvent]:
    """``run.lease_released``, or nothing when nothing is held.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``lease_token_mismatch``.
    """
    body = command.body
    run = runs.known(view, command.entity_id)
    if run.lease is None:
        return []
    if run.lease.claim_token != body.claim_token:
        raise runs.mismatch()
    expect_version(command, view)
    data = {"attempt_no": run.attempt_no, "claim_token": body.claim_token, "reason": "manual_release"}
    return [runs.of_run(command, run, "run.lease_released", data)]


def acknowledge_stop(command: Command[AcknowledgeStop], view: View) -> list[NewEvent]:
    """``run.stop_acknowledged``, once for a lease, while a kill switch is engaged.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``lease_token_mismatch``.
    """
    run = runs.known(view, command.entity_id)
    if run.lease is None or run.lease.claim_token != command.body.claim_token:
        raise runs.mismatch()
    switches = view.get(KillSwitches, switches_id(run.workspace_id))
    if run.stop_acknowledged or switches is None or not switches.engaged:
        return []
    expect_version(command, view)
    data = {"attempt_no": run.attempt_no, "claim_token": run.lease.claim_token}
    return [runs.of_run(command, run, "run.stop_acknowledged", data)]


def expire(command: Command[ExpireRun], view: View) -> list[NewEvent]:
    """``run.lease_expired``, and ``run.failed`` (``attempts_exhausted``) when it was the last attempt.

    Raises:
        NotFound: ``run_not_found``.
    """
    body = command.body
    run = runs.known(view, command.entity_id)
    if run.lease is None or (run.lease.attempt_no, run.lease.claim_token) != (body.attempt_no, body.claim_token):
        return []
    expect_version(command, view)
    data = {"attempt_no": body.attempt_no, "claim_token": body.claim_token}
    events = [runs.of_run(command, run, "run.lease_expired", data)]
    if run.attempt_no >= run.max_attempts:
        events.append(runs.failed(command, run, "attempts exhausted", {"code": "attempts_exhausted"}))
    return events


def time_out(command: Command[TimeOutRun], view: View) -> list[NewEvent]:
    """``run.failed`` (``run_timeout``).

    Raises:
        NotFound: ``run_not_found``.
    """
    body = command.body
    run = runs.known(view, command.entity_id)
    if run.timeout_s is None or run.status != "running" or run.attempt_no != body.attempt_no:
        return []
    expect_version(command, view)
    return [runs.failed(command, run, f"not done within {run.timeout_s} s", {"code": "run_timeout"})]
