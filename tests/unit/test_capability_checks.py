"""What a capability token allows, given how its capability and those above it stand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.capability_checks import VerifiedCapability, checked
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.token_bounds import Bounds

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AGENT = Actor("agent", "agent_1", "principal-1")


def capability(**members: Any) -> Capability:
    given: dict[str, Any] = {"workspace_id": "ws", "principal_id": "principal-1", "scopes": {}, "valid_until": None}
    return Capability(**(given | members))


ROOT = capability(principal_id="principal-0")


@pytest.mark.parametrize(
    ("ancestry", "bounds", "engine_ended", "expected"),
    [
        ([capability()], Bounds(), False, None),
        ([capability(parent_token_id="t1"), ROOT], Bounds(), False, None),
        ([None], Bounds(), False, (401, "capability_token_not_found")),
        ([capability(), None], Bounds(), False, (401, "capability_token_not_found")),
        ([capability(workspace_id="other")], Bounds(), False, (401, "capability_token_not_found")),
        ([capability(principal_id="principal-2")], Bounds(), False, (403, "capability_principal_mismatch")),
        ([capability(revoked=True)], Bounds(), False, (403, "capability_token_revoked")),
        ([capability(), capability(revoked=True)], Bounds(), False, (403, "capability_token_revoked")),
        ([capability()], Bounds(), True, (403, "capability_token_revoked")),
        ([capability(valid_until=NOW + SECOND)], Bounds(), False, None),
        ([capability(valid_until=NOW)], Bounds(), False, (401, "capability_token_expired")),
        ([capability(valid_until=NOW - SECOND)], Bounds(), False, (401, "capability_token_expired")),
        ([capability(), capability(valid_until=NOW - SECOND)], Bounds(), False, (401, "capability_token_expired")),
        ([capability()], Bounds(valid_until=NOW + SECOND), False, None),
        ([capability()], Bounds(valid_until=NOW - SECOND), False, (401, "capability_token_expired")),
    ],
)
def test_a_token_counts_as_long_as_all_that_it_came_from_does(
    ancestry: list[Capability | None], bounds: Bounds, engine_ended: bool, expected: tuple[int, str] | None
) -> None:
    chain = [(f"t{place}", state) for place, state in enumerate(ancestry)]
    if expected is None:
        assert checked("ws", AGENT, bounds, chain, engine_ended, NOW) == tuple(chain)
        return
    with pytest.raises(DomainError) as refused:
        checked("ws", AGENT, bounds, chain, engine_ended, NOW)
    assert (refused.value.status, refused.value.code) == expected


ALL = Bounds(action_types=("*",))
ONE = Bounds(rooms=("room_a",), action_types=("run.create", "capability.grant"))


@pytest.mark.parametrize(
    ("bounds", "command", "room", "code"),
    [
        (ALL, "run.create", "room_a", None),
        (ALL, "agent.register", None, None),
        (ALL, "engine.register", None, "capability_scope_action_not_allowed"),
        (ALL, "engine.issue_token", None, "capability_scope_action_not_allowed"),
        (ONE, "run.create", "room_a", None),
        (ONE, "run.create", "room_b", "capability_scope_room_not_allowed"),
        (ONE, "run.create", None, "capability_scope_room_required"),
        (ONE, "run.complete", "room_a", "capability_scope_action_not_allowed"),
        (ONE, "approval.create", "room_a", None),
        (ONE, "approval.create", None, None),
        (ONE, "approval.create", "room_b", "capability_scope_room_not_allowed"),
        (ONE, "approval.decide", "room_a", "capability_scope_action_not_allowed"),
        (ONE, "capability.grant", None, None),
        (ONE, "capability.revoke", None, "capability_scope_action_not_allowed"),
        (Bounds(), "run.create", "room_a", "capability_scope_action_not_allowed"),
        (Bounds(), "approval.create", "room_a", None),
    ],
)
def test_commands_that_a_token_covers(bounds: Bounds, command: str, room: str | None, code: str | None) -> None:
    verified = VerifiedCapability("ws", "t0", AGENT, bounds)
    if code is None:
        verified.require_command(command, room)
        return
    with pytest.raises(DomainError) as refused:
        verified.require_command(command, room)
    assert (refused.value.status, refused.value.code) == (403, code)
