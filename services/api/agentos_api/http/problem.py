"""Errors on the wire: ``application/problem+json`` (RFC 9457) with the flat code in the member ``error``."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentos_api.append.submission import Answer
from agentos_shared.domain.errors import DomainError, Invalid, TryLater

CONTENT_TYPE: Final = "application/problem+json"


class FieldError(BaseModel):
    """One fault of a request's body or query."""

    loc: list[str | int] = Field(examples=[["body", "title"]])
    msg: str = Field(examples=["Field required"])
    type: str = Field(examples=["missing"])


class Problem(BaseModel):
    """RFC 9457 problem details; further members tell more of some errors."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:agentos:error:room_not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such room in this workspace."])
    instance: str = Field(examples=["/v1/rooms/room_none/threads"])
    error: str = Field(description="Flat code for machines.", examples=["room_not_found"])
    errors: list[FieldError] | None = None


def members(error: DomainError, instance: str) -> dict[str, Any]:
    """The problem document of an error, as a JSON object."""
    return {
        "type": f"urn:agentos:error:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "error": error.code,
        **error.extra,
    }


def answer(error: DomainError, instance: str) -> Answer:
    """The problem document of an error, as an answer."""
    return Answer(error.status, orjson.dumps(members(error, instance)))


def headers(error: DomainError) -> dict[str, str]:
    """Headers that go with an error besides the content type."""
    return {"retry-after": str(error.retry_after_s)} if isinstance(error, TryLater) else {}


def invalid_body(error: ValidationError) -> Invalid:
    """What pydantic found, as one error: the first fault gives the code, ``errors`` lists all."""
    return invalid(error.errors(include_url=False, include_context=False, include_input=False), "body")


def invalid(faults: Iterable[Mapping[str, Any]], where: str) -> Invalid:
    """Faults of a body or a query as one error.

    An unknown member gives ``unknown_field``, a missing (or null, or empty) one ``missing_<name>``, any other
    ``invalid_<name>``.
    """
    listed = [{"loc": [where, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in faults]
    first = min(listed, key=lambda fault: fault["type"] != "extra_forbidden")
    path = [str(step) for step in first["loc"][1:]]
    name = next((step for step in path if not step.isdigit()), where)
    dotted = ".".join(path) or where
    if first["type"] == "extra_forbidden":
        return Invalid("unknown_field", f"{dotted} is not a known field; remove it.", listed)
    if first["type"] == "missing" or _is_empty(first):
        return Invalid(f"missing_{name}", f"{dotted} is required and must not be empty.", listed)
    return Invalid(f"invalid_{name}", f"{dotted}: {first['msg']}.", listed)


def _is_empty(fault: Mapping[str, Any]) -> bool:
    return fault["type"] == "string_too_short" and len(_names(fault["loc"])) == 1


def _names(loc: Sequence[str | int]) -> list[str]:
    return [step for step in loc[1:] if isinstance(step, str)]
