"""What requests and answers have in common, whichever client sends them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
from pydantic import TypeAdapter

from agentos import errors
from agentos.settings import Settings

T = TypeVar("T")
USER_AGENT = "agentos-sdk"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer."""

    status: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def replayed(self) -> bool:
        """Whether it is the answer to an earlier request with the same idempotency key."""
        return self.headers.get("idempotency-replayed") == "true"

    def members(self) -> dict[str, Any]:
        """Its JSON object."""
        found = json_of(self.content)
        return found if isinstance(found, dict) else {}

    def read(self, kind: type[T], member: str | None = None) -> T:
        """Its JSON object, or one member of it, as a model."""
        found = self.members()
        return TypeAdapter(kind).validate_python(found if member is None else found.get(member))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. ``next_cursor`` is None on the last one."""

    items: list[T]
    next_cursor: str | None


def json_of(content: bytes) -> Any:
    """Parsed JSON, or None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def refusal(response: httpx.Response) -> errors.APIError:
    """The exception for a response that was read and is no success."""
    body, phrase = json_of(response.content), response.reason_phrase
    return errors.of_answer(response.status_code, body, phrase, response.headers.get("retry-after"))


def clean(members: Mapping[str, Any] | None) -> dict[str, Any]:
    """Without the members that are None."""
    return {name: value for name, value in (members or {}).items() if value is not None}


def headers_of(settings: Settings, actor: tuple[str, str] | None) -> dict[str, str]:
    """Headers of every request."""
    headers = {"user-agent": USER_AGENT, "x-workspace-id": settings.workspace_id}
    if settings.token:
        headers["authorization"] = f"Bearer {settings.token}"
    if actor is not None:
        headers["x-actor-type"], headers["x-actor-id"] = actor
    if settings.engine_id and settings.engine_token:  # then the engine is the actor
        headers["x-engine-id"], headers["x-engine-token"] = settings.engine_id, settings.engine_token
    return headers
