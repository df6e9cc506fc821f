"""Approvals: asked for by whoever wants to act, decided by people, used once or for as long as they last."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from agentos.models import Approval, ApprovalRequested, Grant, Written
from agentos.sync.connection import Connection
from agentos.sync.listing import Listing

#: The most that one request may wait.
LONGEST_WAIT_S = 30.0


class Approvals:
    """Requests to act, and what became of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        action: str,
        *,
        title: str | None = None,
        request: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        room_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        step_id: str | None = None,
        scope: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
        decide_by: datetime | None = None,
        interactive: bool | None = None,
        action_digest: str | None = None,
        supersedes: str | None = None,
        required_approvals: int | None = None,
        escalation: Sequence[Mapping[str, Any]] | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> ApprovalRequested:
        """Ask a person to allow an action. Silence is a no.

        Args:
            request: what exactly is to be done; without ``scope`` the approval allows this, once.
            expires_at: end of what is allowed. decide_by: until then it can be decided.
            required_approvals: how many people must approve it.
            escalation: whom to tell when nobody has answered: ``{"after_s": 300, "notify": "desk"}``.
        """
        body = {
            "action": action,
            "title": title,
            "request": request,
            "context": context,
            "room_id": room_id,
            "thread_id": thread_id,
            "run_id": run_id,
            "step_id": step_id,
            "scope": scope,
            "expires_at": expires_at.isoformat() if expires_at else None,
            "decide_by": decide_by.isoformat() if decide_by else None,
            "interactive": interactive,
            "action_digest": action_digest,
            "supersedes": supersedes,
            "required_approvals": required_approvals,
            "escalation": None if escalation is None else [dict(step) for step in escalation],
            "correlation_id": correlation_id,
        }
        answer = self._connection.post("/v1/approvals", body, idempotency_key=idempotency_key)
        return answer.read(ApprovalRequested)

    def get(self, approval_id: str, *, wait_s: float | None = None) -> Approval:
        """One approval, as new as the store is.

        Args:
            wait_s: how long to wait for its decision, at most 30.
        """
        answer = self._connection.request(
            "GET", f"/v1/approvals/{approval_id}", query={"wait_s": wait_s}, timeout_s=(wait_s or 0) + 15.0
        )
        return answer.read(Approval, "approval")

    def wait(self, approval_id: str, *, timeout_s: float = 3600.0) -> Approval:
        """The approval once it is decided, has expired or was taken back.

        Raises:
            TimeoutError: it is still open after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            approval = self.get(approval_id, wait_s=min(max(left_s, 0), LONGEST_WAIT_S))
            if not approval.open:
                return approval
            if left_s <= 0:
                raise TimeoutError(f"{approval_id} is still {approval.status} after {timeout_s:g} s.")

    def list(
        self,
        *,
        room_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> Listing[Approval]:
        """Approvals, last changed first."""
        query = {"room_id": room_id, "status": status, "limit": limit}
        return Listing(self._connection, "/v1/approvals", "approvals", Approval, query, min_position)

    def decide(
        self,
        approval_id: str,
        decision: Literal["approve", "deny", "hold"],
        *,
        reason: str | None = None,
        scope: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
        wake_at: datetime | None = None,
        expected_digest: str | None = None,
        expected_policy_hash: str | None = None,
        edited_request: Mapping[str, Any] | None = None,
        client_token: str | None = None,
    ) -> Written:
        """Decide, as a person: agents and services are refused. An approval or a denial is final.

        Args:
            expected_digest, expected_policy_hash: what it is decided on; Conflict once that has moved.
            edited_request: approves this in place of what was asked for.
            client_token: the same decision with the same token is taken once.
        """
        body = {
            "decision": decision,
            "reason": reason,
            "scope": scope,
            "expires_at": expires_at.isoformat() if expires_at else None,
            "wake_at": wake_at.isoformat() if wake_at else None,
            "expected_digest": expected_digest,
            "expected_policy_hash": expected_policy_hash,
            "edited_request": edited_request,
            "client_token": client_token,
        }
        return (self._connection.post(f"/v1/approvals/{approval_id}/decide", body)).read(Written)

    def seen(self, approval_id: str) -> Written:
        """Note that a person has seen a request; the first time counts."""
        return (self._connection.post(f"/v1/approvals/{approval_id}/seen", {})).read(Written)

    def cancel(self, approval_id: str, *, reason: str | None = None) -> Written:
        """Take a request back."""
        return (self._connection.post(f"/v1/approvals/{approval_id}/cancel", {"reason": reason})).read(Written)

    def consume(self, approval_id: str, action_digest: str, **act: Any) -> Written:
        """Use an approval right before the act that it allows.

        Args:
            act: for a grant that is no single act: ``action``, ``room_id``, ``resource`` and so on, as the API has it.
        """
        body = {"action_digest": action_digest, **act}
        return (self._connection.post(f"/v1/approvals/{approval_id}/consume", body)).read(Written)

    def grants(
        self,
        *,
        room_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> Listing[Grant]:
        """What was approved for more than one act, last changed first."""
        query = {"room_id": room_id, "status": status, "limit": limit}
        return Listing(self._connection, "/v1/grants", "grants", Grant, query, min_position)

    def revoke(self, approval_id: str, *, reason: str | None = None) -> Written:
        """End what an approval allows, as a person."""
        return (self._connection.post(f"/v1/grants/{approval_id}/revoke", {"reason": reason})).read(Written)
