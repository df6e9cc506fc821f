"""What kill switches mean for approvals: nothing is used while one concerns it, and requests do not age."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from agentos_shared.domain.actions import normalised
from agentos_shared.domain.approval_scopes import Wish
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import View
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import Conflict
from agentos_shared.domain.kill_switches import KillSwitches, switches_id
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, KillSwitch


def require_running(approval: Approval, wish: Wish, actor: Actor, view: View, *, forced: bool) -> None:
    """Raise Conflict ``kill_switch_active`` when a switch stops the use of an approval.

    Args:
        actor: who is about to act.
        forced: whether the environment engages ``external_write``.
    """
    switches = _switches(approval, view)
    rooms = {wish.room_id, approval.room_id}
    who = (actor, approval.requester)
    stopped = any(
        _stops(switch, wish.action, rooms, who, wish.resource) for switch in (switches.facts if switches else ())
    )
    if stopped or (forced and _leaves(wish.action)):
        raise kill_switch_active()


def kill_switch_active() -> Conflict:
    """409: it is stopped."""
    return Conflict("kill_switch_active", "A kill switch is engaged; a person releases it: GET /v1/policy/kill-switch.")


def held_up(approval: Approval, view: View, now: datetime) -> timedelta:
    """For how long the time of a request has stood still since its clock was set, up to now."""
    total, upto = timedelta(0), approval.clock_from
    for since, until in sorted(_stands(approval, view, now)):
        begin = max(since, upto)
        if until > begin:
            total += until - begin
            upto = until
    return total


def frozen(approval: Approval, view: View) -> bool:
    """Whether the time of a request stands still now."""
    switches = _switches(approval, view)
    return switches is not None and any(_concerns(switch, approval) for switch in switches.facts)


def _stands(approval: Approval, view: View, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    switches = _switches(approval, view)
    if switches is None:
        return
    for lifted in switches.lifted:
        if _concerns(lifted.switch, approval):
            yield lifted.since, lifted.until
    for engaged in switches.engaged.values():
        if _concerns(engaged.switch, approval):
            yield engaged.since, now


def _concerns(switch: KillSwitch, approval: Approval) -> bool:
    return _stops(switch, approval.action, {approval.room_id}, (approval.requester,), None)


def _stops(
    switch: KillSwitch, action: str, rooms: set[str | None], who: tuple[Actor, ...], resource: str | None
) -> bool:
    match switch.scope:
        case "workspace":
            return True
        case "external_write":
            return _leaves(action)
        case "room":
            return switch.target in rooms
        case "agent":
            return any(switch.target in (actor.id, actor.principal_id) for actor in who)
        case "tool":
            return resource is not None and switch.target == resource
        case _:
            return False


def _leaves(action: str) -> bool:
    """Whether an action gets something out. What is not known from the start counts as such."""
    rule = SEEDED_ACTIONS.get(normalised(action))
    return rule is None or rule.external


def _switches(approval: Approval, view: View) -> KillSwitches | None:
    return view.get(KillSwitches, switches_id(approval.workspace_id))
