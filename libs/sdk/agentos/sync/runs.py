"""Runs: create them, work on them under a lease, end them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from agentos.models import ClaimedRun, Evidence, Lease, Run, RunAttempt, RunCreated, Written
from agentos.sync.connection import Connection
from agentos.sync.listing import Listing

#: Bounds of the pauses of :meth:`Runs.wait`.
SHORT_PAUSE_S = 0.05
LONG_PAUSE_S = 1.0


class Runs:
    """Pieces of work."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        room_id: str,
        *,
        handler: str | None = None,
        input: Mapping[str, Any] | None = None,
        title: str | None = None,
        goal: str | None = None,
        thread_id: str | None = None,
        experiment_id: str | None = None,
        tags: Sequence[str] = (),
        max_attempts: int | None = None,
        priority: int | None = None,
        timeout_s: int | None = None,
        zone: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> RunCreated:
        """Queue a run.

        Args:
            handler: which worker's handler it is for; becomes ``input["handler"]``.
            priority: higher ones are claimed first.
            timeout_s: for a whole attempt.
        """
        body = {
            "room_id": room_id,
            "thread_id": thread_id,
            "experiment_id": experiment_id,
            "title": title,
            "goal": goal,
            "input": {**(input or {}), **({"handler": handler} if handler else {})},
            "tags": list(tags),
            "max_attempts": max_attempts,
            "priority": priority,
            "timeout_s": timeout_s,
            "zone": zone,
            "correlation_id": correlation_id,
        }
        return (self._connection.post("/v1/runs", body, idempotency_key=idempotency_key)).read(RunCreated)

    def get(self, run_id: str) -> Run:
        """One run, as new as the store is."""
        return (self._connection.get(f"/v1/runs/{run_id}")).read(Run, "run")

    def list(
        self,
        *,
        room_id: str | None = None,
        experiment_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> Listing[Run]:
        """Runs, last changed first."""
        query = {"room_id": room_id, "experiment_id": experiment_id, "status": status, "limit": limit}
        return Listing(self._connection, "/v1/runs", "runs", Run, query, min_position)

    def wait(self, run_id: str, *, timeout_s: float = 300.0) -> Run:
        """The run once it has ended.

        Raises:
            TimeoutError: it has not, after ``timeout_s``.
        """
        pause_s, waited_s = SHORT_PAUSE_S, 0.0
        while not (run := self.get(run_id)).ended:
            if waited_s >= timeout_s:
                raise TimeoutError(f"{run_id} is still {run.status} after {timeout_s:g} s.")
            time.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(pause_s * 1.5, LONG_PAUSE_S)
        return run

    def attempts(self, run_id: str) -> Sequence[RunAttempt]:
        """Every claim of a run, first to last."""
        return (self._connection.get(f"/v1/runs/{run_id}/attempts")).read(list[RunAttempt], "attempts")

    def evidence(self, run_id: str) -> Evidence:
        """The manifest of an ended run."""
        return (self._connection.get(f"/v1/runs/{run_id}/evidence")).read(Evidence, "evidence")

    def claim(
        self,
        *,
        actor_id: str | None = None,
        room_id: str | None = None,
        tags: Sequence[str] = (),
        handlers: Sequence[str] = (),
        lease_ttl_s: int | None = None,
        wait_s: int = 0,
        idempotency_key: str | None = None,
        patience_s: float | None = None,
    ) -> ClaimedRun | None:
        """The next run, by priority, then age, with a lease on it; None when there is none.

        Args:
            actor_id: who claims, in open mode; an engine's credentials say it by themselves.
            handlers: only runs whose ``input["handler"]`` is one of these.
            wait_s: how long to wait for a run when there is none, at most 30.
            idempotency_key: with the same key again, the same run.
        """
        body = {
            "actor_id": actor_id or (self._connection.actor or (None, None))[1],
            "room_id": room_id,
            "tags": list(tags) or None,
            "handlers": list(handlers) or None,
            "lease_ttl_s": lease_ttl_s,
            "wait_s": wait_s or None,
        }
        answer = self._connection.post(
            "/v1/runs/claim",
            body,
            idempotency_key=idempotency_key,
            patience_s=patience_s,
            timeout_s=wait_s + 15.0,
        )
        run = answer.members().get("run")
        return None if run is None else ClaimedRun.model_validate({**run, "replayed": answer.replayed})

    def heartbeat(
        self,
        run_id: str,
        claim_token: str,
        *,
        stopped: bool = False,
        patience_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Lease:
        """Keep a lease for another TTL.

        Args:
            stopped: that what the run did has been ended, as the answer to an earlier one asked.

        Raises:
            Conflict: ``run_not_running``, ``lease_expired`` or ``lease_token_mismatch``: it is lost.
        """
        answer = self._connection.request(
            "POST",
            f"/v1/runs/{run_id}/lease/heartbeat",
            body={"claim_token": claim_token, **({"stopped": True} if stopped else {})},
            patience_s=patience_s,
            timeout_s=timeout_s,
        )
        return answer.read(Lease)

    def release(self, run_id: str, claim_token: str, *, patience_s: float | None = None) -> bool:
        """Give a run back: it is queued again at once. False when nothing was held."""
        answer = self._connection.request(
            "POST",
            f"/v1/runs/{run_id}/lease/release",
            body={"claim_token": claim_token},
            patience_s=patience_s,
        )
        return bool(answer.members().get("released"))

    def start(self, run_id: str) -> Written:
        """Start a queued run without a lease: no engine can claim it then."""
        return (self._connection.post(f"/v1/runs/{run_id}/start", {})).read(Written)

    def complete(
        self,
        run_id: str,
        *,
        summary: str | None = None,
        output: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        patience_s: float | None = None,
    ) -> Written:
        """End a run well."""
        body = {"summary": summary, "output": output, "claim_token": claim_token}
        return self._end(run_id, "complete", body, patience_s)

    def fail(
        self,
        run_id: str,
        *,
        message: str | None = None,
        error: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        patience_s: float | None = None,
    ) -> Written:
        """End a run as failed."""
        body = {"message": message, "error": error, "claim_token": claim_token}
        return self._end(run_id, "fail", body, patience_s)

    def cancel(self, run_id: str, *, reason: str | None = None) -> Written:
        """End a run that nobody needs any more; whoever works on it loses the lease."""
        return self._end(run_id, "cancel", {"reason": reason}, None)

    def _end(self, run_id: str, verb: str, body: Mapping[str, Any], patience_s: float | None) -> Written:
        return (self._connection.post(f"/v1/runs/{run_id}/{verb}", body, patience_s=patience_s)).read(Written)
