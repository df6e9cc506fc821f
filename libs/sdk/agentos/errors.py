"""What can go wrong, as types: a problem document of the API becomes the exception of its status and code.

AgentOSError
  Unreachable            no answer, for as long as the retries lasted
  APIError               the API refused: .code .status .detail .next_step .problem
    BadRequest 400/413/415/422    AccessDenied 401/403    NotFound 404    Conflict 409    Unavailable 429/5xx
  LeaseLost              the run belongs to somebody else now, or has ended
  ToolRefused            a policy refused a tool call
  ActionRefused          the gate denies an action
  ApprovalRefused        nobody allowed what was asked for
  TryAgain               for handlers: give the run back for another attempt
"""

from collections.abc import Mapping
from typing import Any, Final


class AgentOSError(Exception):
    """Everything that this package raises by itself."""


class Unreachable(AgentOSError):
    """The API did not answer, for as long as the retries lasted. Whether a write took place is not known."""

    def __init__(self, url: str, cause: BaseException) -> None:
        reason = f"{type(cause).__name__}: {cause}".rstrip(": ")
        super().__init__(f"{url} does not answer ({reason}). See `agentos status`, or set AGENTOS_URL.")
        self.url = url


class APIError(AgentOSError):
    """The API refused a request.

    Attributes:
        code: flat code for machines, such as ``room_not_found``.
        status: HTTP status.
        detail: one sentence for people.
        problem: the problem document (RFC 9457) as it came; some errors have further members.
        retry_after_s: how long the server asked to wait.
    """

    def __init__(
        self, status: int, code: str, detail: str, problem: Mapping[str, Any], retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.problem = dict(problem)
        self.retry_after_s = retry_after_s

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return _NEXT_STEPS.get(self.code) or type(self)._next_step

    _next_step = "Correct the request."

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in (429, 502, 503, 504) or self.code == "idempotency_key_in_flight"


class BadRequest(APIError):
    """The request is malformed, too large, or contradicts an earlier one. ``problem["errors"]`` lists the fields."""

    _next_step = "Correct the members that `problem['errors']` names."


class AccessDenied(APIError):
    """Missing, wrong or insufficient credentials."""

    _next_step = (
        "Check the token (AGENTOS_TOKEN) or the engine's credentials (AGENTOS_ENGINE_ID, AGENTOS_ENGINE_TOKEN)."
    )


class NotFound(APIError):
    """There is no such thing in this workspace."""

    _next_step = "Check the id, and the workspace (AGENTOS_WORKSPACE_ID): ids of another one are not found."


class Conflict(APIError):
    """The state of the thing does not allow it."""

    _next_step = "Read it again, and decide anew."


class Unavailable(APIError):
    """The server could not do it now, also not after retries."""

    _next_step = "Try again later; see `agentos status` for what is missing."


class LeaseLost(AgentOSError):
    """The lease of a run is gone: stop working on it. What is written under it now is refused.

    Attributes:
        code: why, as the API says it: ``lease_token_mismatch``, ``lease_expired``, ``run_not_running``,
            ``run_already_ended``; ``unreachable`` when no heartbeat got through, ``stopping`` when the worker stops.
    """

    def __init__(self, run_id: str, code: str) -> None:
        super().__init__(f"The lease of {run_id} is lost ({code}); stop working on it.")
        self.run_id = run_id
        self.code = code


class ToolRefused(AgentOSError):
    """A policy did not allow a tool call, so there is none.

    Attributes:
        decision: ``deny`` or ``require_approval``.
    """

    def __init__(self, tool_name: str, decision: str, reason_code: str, reason: str | None) -> None:
        super().__init__(f"{tool_name}: {decision} ({reason_code}){f': {reason}' if reason else ''}")
        self.tool_name = tool_name
        self.decision = decision
        self.reason_code = reason_code
        self.reason = reason


class ActionRefused(AgentOSError):
    """The gate denies an action, and no approval would lift that."""

    def __init__(self, action: str, reason_code: str, reason: str | None) -> None:
        super().__init__(f"{action}: denied ({reason_code}){f': {reason}' if reason else ''}")
        self.action = action
        self.reason_code = reason_code
        self.reason = reason


class ApprovalRefused(AgentOSError):
    """What was asked for is not allowed: denied, or nobody decided in time, or the request was taken back.

    Attributes:
        status: ``denied``, ``expired``, ``cancelled``, ``superseded``, ``lapsed`` or ``revoked``; ``consumed``: an
            earlier attempt has used it, and may or may not have done what it was for.
        reason: the decider's, where there is one.
    """

    def __init__(self, approval_id: str, action: str, status: str, reason: str | None) -> None:
        super().__init__(f"{action}: {status}{f': {reason}' if reason else ''} ({approval_id})")
        self.approval_id = approval_id
        self.action = action
        self.status = status
        self.reason = reason


class TryAgain(AgentOSError):
    """Raised by a handler: the run is given back, and claimed again while it has attempts left."""


_NEXT_STEPS: Final = {
    "missing_bearer_token": "Set AGENTOS_TOKEN, or pass token=...",
    "invalid_token": "Set AGENTOS_TOKEN to a token that is valid.",
    "capability_token_expired": "Have another capability granted, or narrow one that lasts longer.",
    "capability_token_revoked": "Have another capability granted: this one, or one that it came from, was taken back.",
    "capability_workspace_mismatch": "Set AGENTOS_WORKSPACE_ID to the workspace that the token is of.",
    "token_block_wider": "Narrow the token to what it covers, and to no more.",
    "missing_engine_token": "Register an engine, and set AGENTOS_ENGINE_ID and AGENTOS_ENGINE_TOKEN.",
    "engine_inactive": "Register the engine again.",
    "lease_token_mismatch": "Stop working on the run: another attempt has it.",
    "lease_expired": "Stop working on the run; claim again.",
    "run_not_queued": "Read the run: it has been claimed or started, or has ended.",
    "run_not_running": "Claim or start the run first; an ended one takes no more work.",
    "run_already_ended": "Nothing is left to do: read the run for its outcome.",
    "version_conflict": "Read it again, and retry with its present version.",
    "idempotency_key_reused": "Use a new idempotency key for a new request.",
    "event_too_large": "Store large content as an artifact, and refer to it.",
    "unknown_field": "Remove the member that the API does not know; is the SDK newer than the server?",
}

_BY_STATUS: Final[Mapping[int, type[APIError]]] = {401: AccessDenied, 403: AccessDenied, 404: NotFound, 409: Conflict}


def of_answer(status: int, body: Any, phrase: str, retry_after: str | None) -> APIError:
    """The exception for a refusal.

    Args:
        body: parsed JSON of the answer, or None where it was none.
        phrase: the status in words, for answers that are no problem document.
        retry_after: that header, in seconds. Dates are not taken: our server sends none, and clocks differ.
    """
    problem: Mapping[str, Any] = body if isinstance(body, dict) else {}
    code = problem.get("error")
    if not isinstance(code, str):  # not ours: a proxy's, or a server's own
        code = f"http_{status}"
    asked_s = float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else None
    otherwise: type[APIError] = Unavailable if status == 429 or status >= 500 else BadRequest
    return _BY_STATUS.get(status, otherwise)(status, code, str(problem.get("detail") or phrase), problem, asked_s)
