"""Actions: what somebody wants to do, by name, and the digest that tells one such wish from every other."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.envelope import Actor

#: Names of old, and what they are called now.
_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {"external_write": "external.write", "data_read": "data.read", "data_write": "data.write"}
)
_DIGEST: Final = r"^sha256:[0-9a-f]{64}$"

#: As a caller names it, without white space around it; :func:`normalised` gives the name that counts.
ActionName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
ActionDigest = Annotated[str, Field(pattern=_DIGEST, examples=["sha256:" + "9f" * 32])]


def normalised(action: str) -> str:
    """The name that counts, of whichever way to write it."""
    name = action.strip()
    return _RENAMED.get(name, name)


def action_digest(
    workspace_id: str,
    action: str,
    actor: Actor,
    room_id: str | None,
    run_id: str | None,
    parameters: Mapping[str, Any],
) -> str:
    """``sha256:`` and the hex digest of exactly this action, by exactly this actor, in exactly this place.

    Args:
        action: as written; it is normalised here.
        parameters: what it is done with: the context of an evaluation, the request of an approval, ``{tool_name,
            input}`` of a tool call, ``{method, url, body_sha256}`` of a request that leaves the machine.
    """
    wish = {
        "v": 1,
        "workspace_id": workspace_id,
        "action": normalised(action),
        "actor": {"type": actor.type, "id": actor.id},
        "room_id": room_id,
        "run_id": run_id,
        "parameters": dict(parameters),
    }
    return "sha256:" + hashlib.sha256(canonical(wish)).hexdigest()
