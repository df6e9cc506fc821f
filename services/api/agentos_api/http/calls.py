"""Writes that are no commands: they ask another service, or append by several commands of their own.

A call is served by the edge as commands are: body checked against its model, problems as everywhere. It is not to be
had in bulk or on NATS.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from agentos_api.append.submission import Answer
from agentos_api.commands import Caller
from agentos_api.http.access import Identity


class Asked(NamedTuple):
    """One request for a call.

    Args:
        body: an instance of the call's model.
        raw: the same as it came: a JSON object.
        ids: what stands at the path's parameters, in order.
        size: bytes of the body.
    """

    caller: Caller
    identity: Identity
    body: Any
    raw: Any
    ids: tuple[str, ...]
    size: int


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
    """

    name: str
    path: str
    body: type[BaseModel]
    answer: type[BaseModel]
    run: Callable[[Asked], Awaitable[Answer]]
    engine_in_body: bool = False
    summary: str = ""
    example: Any = None
