"""Errors that a caller can do something about. Each knows its HTTP status and its flat code."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentos_shared.domain.envelope import NewEvent


class DomainError(Exception):
    """A request that cannot be done, with a code for machines and a sentence for people.

    Args:
        code: flat code, such as ``room_not_found``; the problem document's ``error``.
        detail: what is wrong and what to do.
        extra: further members of the problem document, such as ``current_version``.

    Attributes:
        recorded: events that tell of the refusal itself; they are appended although nothing else is.
    """

    status = 400
    recorded: Sequence["NewEvent"] = ()

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.extra: Mapping[str, Any] = extra


class Invalid(DomainError):
    """400: malformed, missing or out of range. ``errors`` lists ``{loc, msg, type}`` where there are several."""

    def __init__(self, code: str, detail: str, errors: Sequence[Mapping[str, Any]] | None = None, **extra: Any) -> None:
        super().__init__(code, detail, **({"errors": list(errors)} if errors is not None else {}), **extra)


class Unauthorized(DomainError):
    """401: no credential, or one that is not valid."""

    status = 401


class Forbidden(DomainError):
    """403: a valid caller who may not do this."""

    status = 403


class NotFound(DomainError):
    """404: unknown, ill-formed, or of another workspace: the three are not told apart."""

    status = 404


class NotAcceptable(DomainError):
    """406: the client does not accept what this endpoint sends."""

    status = 406


class Conflict(DomainError):
    """409: contradicts the present state."""

    status = 409


class TooLarge(DomainError):
    """413: over a size limit."""

    status = 413


class UnsupportedMediaType(DomainError):
    """415: a body that is not application/json."""

    status = 415


class Contradiction(DomainError):
    """422: well-formed, but contradicts an earlier request (a reused idempotency key)."""

    status = 422


class InsufficientStorage(DomainError):
    """507: there is too little disk space to write."""

    status = 507


class TryLater(DomainError):
    """503: cannot be served now. Nothing was appended, or a retry with the same idempotency key is safe.

    Args:
        retry_after_s: whole seconds for the ``retry-after`` header.
    """

    status = 503

    def __init__(self, code: str, detail: str, retry_after_s: int = 1, **extra: Any) -> None:
        super().__init__(code, detail, **extra)
        self.retry_after_s = retry_after_s
