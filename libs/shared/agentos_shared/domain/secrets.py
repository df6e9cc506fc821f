"""Secrets of the vault, as the record knows them: their names and what was done with them, never their values."""

import re
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from agentos_shared.domain import ids
from agentos_shared.domain.decider import Command, CommandBody, View
from agentos_shared.domain.egress_match import host_pattern
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.domain.errors import Invalid

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
#: A shorter value would be scrubbed from texts in which it stands by chance.
MIN_VALUE_BYTES: Final = 8
MAX_VALUE_BYTES: Final = 16 * 1024
Place = Literal["header", "query", "body"]
Doing = Literal["upserted", "accessed", "removed", "key_rotated", "injected"]


class RecordSecret(CommandBody):
    """What was done with a secret of the vault."""

    secret_id: str
    doing: Doing
    secret_name: str | None = None
    created: bool | None = None
    version: int | None = Field(None, ge=1)
    hosts: list[str] | None = None
    methods: list[str] | None = None
    places: list[Place] | None = None
    accessed_by_principal_id: str | None = None
    rewrapped: int | None = None
    egress_request_id: str | None = None


class RecordLeak(CommandBody):
    """A secret was found in what was about to leave the machine, and stopped."""

    source_event_id: str
    source_event_type: str
    scanner_version: str
    match_count: int = Field(ge=1)
    rule_ids: list[str]
    matches: list[dict[str, str]]


def checked_name(name: str | None) -> str:
    """A secret's name. Raises Invalid: ``invalid_secret_name``."""
    if name is None or NAME.fullmatch(name) is None:
        raise Invalid("invalid_secret_name", "secret_name is 1 to 100 letters, digits, '.', '_' and '-'.")
    return name


def checked_value(value: str | None) -> str:
    """A secret's value. Raises Invalid: ``invalid_secret_value``."""
    size = len((value or "").encode(errors="replace"))
    if value is None or not MIN_VALUE_BYTES <= size <= MAX_VALUE_BYTES:
        raise Invalid(
            "invalid_secret_value", f"secret_value must have {MIN_VALUE_BYTES} to {MAX_VALUE_BYTES} bytes of UTF-8."
        )
    return value


def checked_hosts(hosts: Sequence[str]) -> list[str]:
    """Patterns of hosts to which a secret may go. Raises Invalid: ``invalid_host``."""
    try:
        return list(dict.fromkeys(host_pattern(host) for host in hosts))
    except ValueError as error:
        raise Invalid("invalid_host", f"One of hosts cannot be taken: {error}.") from None


def secret_id_of(workspace_id: str, name: str) -> str:
    """The id of a workspace's secret of that name, also after it was removed and set again."""
    return ids.derived_id(ids.SECRET, f"{workspace_id}\n{name}")


def record(command: Command[RecordSecret], view: View) -> list[NewEvent]:
    """``secret.upserted``, ``secret.accessed``, ``secret.injected``, ``secret.removed`` or ``secret.key_rotated``."""
    body, meta = command.body, command.meta
    told = body.model_dump(
        exclude={"doing", "actor_type", "actor_id", "correlation_id", "expected_version"}, exclude_none=True
    )
    return [
        NewEvent(
            event_type=f"secret.{body.doing}",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="secret",
            entity_id=command.entity_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            data=told,
        )
    ]


def record_leak(command: Command[RecordLeak], view: View) -> list[NewEvent]:
    """``secret.leaked.detected`` about a request that was blocked for it; once."""
    if view.version(command.entity_id):
        return []
    body, meta = command.body, command.meta
    about = {"actor_type", "actor_id", "correlation_id", "expected_version"}
    return [
        NewEvent(
            event_type="secret.leaked.detected",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="event",
            entity_id=command.entity_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            data=body.model_dump(exclude=about),
            causation_id=body.source_event_id,
        )
    ]


def evolve(state: None, event: Event) -> None:
    """Nothing is decided on a secret."""
