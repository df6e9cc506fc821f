"""Counting what a capability is used for, where it is good for some number of commands only."""

from collections.abc import Iterator

from pydantic import Field

from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.capability_checks import VerifiedCapability
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import NewEvent, Stream
from agentos_shared.domain.errors import Forbidden, NotFound


class UseCapability(CommandBody):
    """Counts one use of a capability, and of those that it was handed on from.

    ``above`` are these, nearest first. ``blocks`` are limits that holders set in the token: how many uses each allows,
    by the revocation id of its block.
    """

    token_id: str
    above: list[str] = Field(default_factory=list, max_length=16)
    blocks: dict[str, int] = Field(default_factory=dict, max_length=16)


def limited(verified: VerifiedCapability) -> UseCapability | None:
    """What is to be counted for a use of a token; None: nothing limits it."""
    scopes = (capability.scopes for _, capability in verified.ancestry)
    if not verified.uses and not any(scope.get("max_uses") for scope in scopes):
        return None
    above = [token_id for token_id, _ in verified.ancestry[1:]]
    return UseCapability(token_id=verified.token_id, above=above, blocks=dict(verified.uses))


def use(command: Command[UseCapability], view: View) -> list[NewEvent]:
    """``agent.capability.used`` of each capability whose uses are counted.

    Raises:
        NotFound: ``token_not_found``. Forbidden: ``capability_uses_exhausted``.
    """
    expect_version(command, view)
    return list(_counted(command, view))


def _counted(command: Command[UseCapability], view: View) -> Iterator[NewEvent]:
    body, meta = command.body, command.meta
    for token_id in (body.token_id, *body.above):
        capability = view.get(Capability, token_id)
        if capability is None or capability.workspace_id != meta.workspace_id:
            raise NotFound("token_not_found", "There is no such capability in this workspace.")
        blocks = body.blocks if token_id == body.token_id else {}
        allowed = capability.scopes.get("max_uses")
        spent = [capability.block_uses.get(block, 0) >= most for block, most in blocks.items()]
        if any(spent) or (allowed is not None and capability.used >= allowed):
            raise Forbidden(
                "capability_uses_exhausted", "This token was good for some commands only, and they are spent."
            )
        if blocks or allowed is not None:
            yield NewEvent(
                event_type="agent.capability.used",
                stream=Stream("workspace", meta.workspace_id),
                workspace_id=meta.workspace_id,
                entity_type="capability",
                entity_id=token_id,
                actor=meta.actor,
                correlation_id=meta.correlation_id,
                idempotency_key=meta.idempotency_key,
                data={
                    "token_id": token_id,
                    "issued_to_principal_id": capability.principal_id,
                    "used": capability.used + 1,
                    "blocks": list(blocks),
                },
            )
