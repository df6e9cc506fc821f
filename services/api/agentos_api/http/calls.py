"""Writes that are no commands: they ask another service, or append by several commands of their own.

A call is served as commands are, over HTTP and on NATS: body checked against its model, problems as everywhere. It is
not to be had in bulk.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ValidationError

from agentos_api.append.submission import Answer
from agentos_api.commands import Caller
from agentos_api.http import problem
from agentos_api.http.access import Identity
from agentos_shared.domain.errors import Invalid

#: Returns once the caller has hung up.
Gone: TypeAlias = Callable[[], Awaitable[None]]


class Asked(NamedTuple):
    """One request for a call.

    Args:
        body: an instance of the call's model.
        raw: the same as it came: a JSON object.
        ids: what stands at the path's parameters, in order.
        size: bytes of the body.
        gone: returns once the caller has hung up; None where that cannot be told.
    """

    caller: Caller
    identity: Identity
    body: Any
    raw: Any
    ids: tuple[str, ...]
    size: int
    gone: Gone | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Args:
        name: ``noun.verb``, for metrics and documents.
        path: HTTP path template: ``/v1/<nouns>/<verb>``, or parameters where commands have theirs.
        body, answer: models of the request's body and of the answer to it.
        run: serves it; raises DomainError.
        engine_in_body: ``run`` asks :meth:`Access.engine` with what the body brings, so that a request without other
            credentials is let in to it.
        summary: one line for the OpenAPI document.
        example: a body.
        status: of the answer, for the document.
    """

    name: str
    path: str
    body: type[BaseModel]
    answer: type[BaseModel]
    run: Callable[[Asked], Awaitable[Answer]]
    engine_in_body: bool = False
    summary: str = ""
    example: Any = None
    status: int = 200

    def asked(
        self,
        caller: Caller,
        identity: Identity,
        body: Any,
        ids: tuple[str, ...],
        size: int,
        gone: Gone | None = None,
    ) -> Asked:
        """A request whose body has been checked. Raises Invalid."""
        if type(body) is not dict:
            raise Invalid("invalid_body", "The body must be a JSON object.")
        try:
            return Asked(caller, identity, self.body.model_validate(body), body, ids, size, gone)
        except ValidationError as error:
            raise problem.invalid_body(error) from None

    @property
    def parameters(self) -> list[str]:
        """Names of the path's parameters, in order."""
        return [part.strip("{}") for part in self.path.split("/") if part.startswith("{")]
