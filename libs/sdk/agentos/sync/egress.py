"""Requests to the world outside: they leave through the gateway, once they are allowed."""

import base64
from collections.abc import Mapping
from typing import Any

from agentos.models import EgressResult, EgressSeen
from agentos.sync.connection import Connection


class Egress:
    """Requests to the world outside."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
        wait_s: float = 0.0,
        timeout_s: float | None = None,
        max_response_bytes: int | None = None,
        action: str | None = None,
        room_id: str | None = None,
        run_id: str | None = None,
        step_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        principal_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> EgressResult:
        """Ask for a request, and for what came of it.

        Whatever is decided is an answer: look at ``decision``, or use :meth:`EgressResult.answered`. With the same
        ``idempotency_key`` it is the same request: what was sent is not sent again, and what waits for an approval is
        sent once that is given.

        Args:
            wait_s: how long to wait for an approval that it needs, at most 30.
            timeout_s: for the request itself. Redirects are not followed.
        """
        limits = {"timeout_s": timeout_s, "max_response_bytes": max_response_bytes}
        given = {name: value for name, value in limits.items() if value is not None}
        asked = {
            "target_url": url,
            "method": method.upper(),
            "headers": dict(headers) if headers else None,
            "body": body if isinstance(body, str) else None,
            "body_base64": base64.b64encode(body).decode() if isinstance(body, bytes) else None,
            "limits": given or None,
            "wait_s": wait_s or None,
            "action": action,
            "room_id": room_id,
            "run_id": run_id,
            "step_id": step_id,
            "context": context,
            "principal_id": principal_id,
        }
        longest_s = wait_s + (30.0 if timeout_s is None else timeout_s) + 20.0
        answer = self._connection.post(
            "/v1/egress/requests", asked, idempotency_key=idempotency_key, timeout_s=longest_s
        )
        return answer.read(EgressResult)

    def get(self, egress_request_id: str) -> EgressSeen:
        """One request with its outcome, as new as the store is."""
        answer = self._connection.get(f"/v1/egress/requests/{egress_request_id}", {})
        return answer.read(EgressSeen, "request")

    def content(self, egress_request_id: str) -> bytes:
        """The body that came back, byte for byte, as far as it was kept."""
        return (self._connection.get(f"/v1/egress/requests/{egress_request_id}/content", {})).content
