"""What a kill switch would have stopped: acts and decisions of the past, put to the gate again with it engaged."""

from collections.abc import Collection
from typing import Final

from agentos_shared.domain.envelope import Actor, Event
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, ActionRule, Facts, KillSwitch, Request

#: Events of what was done or allowed.
ACTS: Final = ("policy.decided", "tool.invoked")
_STOPPED: Final = "kill_switch_active"


def request_of(event: Event) -> Request:
    """The wish behind ``policy.decided`` or ``tool.invoked``, as far as kill switches look at it."""
    data = event.data
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
