"""What a kill switch would have stopped: acts and decisions of the past, put to the gate again with it engaged."""

from collections.abc import Collection
from typing import Final

from agentos_shared.domain.envelope import Actor, Event
from agentos_shared.domain.policy.evaluate import EXTERNAL_WRITE, evaluate
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, ActionRule, Facts, KillSwitch, Request

#: Events of what was done or allowed.
ACTS: Final = ("policy.decided", "tool.invoked", "egress.sent")
_STOPPED: Final = "kill_switch_active"


def request_of(event: Event) -> Request:
    """The wish behind one of :data:`ACTS`, as far as kill switches look at it."""
    data = event.data
    if event.event_type == "egress.sent":
        return _sent(event)
    called = event.event_type == "tool.invoked"
    return Request(
        event.workspace_id,
        "tool_call" if called else data["category"],
        "tool.call" if called else data["action"],
        Actor(event.actor_type, event.actor_id, event.actor_principal_id),
        "",
        event.zone,
        principal_id=data.get("principal_id"),
        room_id=event.room_id,
        run_id=event.run_id,
        step_id=event.step_id,
        tool_name=data.get("tool_name"),
        egress_host=(data.get("inputs") or {}).get("egress_host"),
    )


def _sent(event: Event) -> Request:
    """A request that left the machine; the decision that it carries tells whose it was."""
    inputs = event.parsed_content()["policy_context"].get("inputs") or {}
    kind, name, principal_id = inputs.get("actor") or (event.actor_type, event.actor_id, event.actor_principal_id)
    return Request(
        event.workspace_id,
        "egress",
        inputs.get("wish", {}).get("action", EXTERNAL_WRITE),
        Actor(kind, name, principal_id),
        "",
        event.zone,
        principal_id=inputs.get("principal_id"),
        room_id=event.room_id,
        run_id=event.run_id,
        step_id=event.step_id,
        egress_host=inputs.get("egress_host"),
    )


def would_stop(event: Event, switch: KillSwitch, external: Collection[str]) -> bool:
    """Whether a switch would have stopped what an event tells of.

    Args:
        external: types of actions that users registered as leaving the machine.
    """
    wish = request_of(event)
    rule = SEEDED_ACTIONS.get(wish.action)
    if wish.action in external:
        rule = ActionRule(wish.action, False, "high_stakes", True, external=True)
    decision = evaluate(wish, Facts(event.recorded_at, action=rule, kill_switches=(switch,)))
    return _STOPPED in decision.reason_codes
