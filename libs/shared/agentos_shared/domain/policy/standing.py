"""What an allow rests on, looked at once more where the act is appended.

Between the gate's answer and the append a switch may be engaged, an agent put into quarantine, a capability taken back.
The entities that say so are read with the act, and the append proves that they still stood so when it was committed.
Approvals are looked at as they are used (:mod:`agentos_shared.domain.grants`).
"""

from agentos_shared.domain.agents import Agent
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.decider import View
from agentos_shared.domain.errors import TryLater
from agentos_shared.domain.kill_switches import KillSwitches, switches_id
from agentos_shared.domain.policy.evaluate import bars
from agentos_shared.domain.policy.facts import ActionRule, Facts
from agentos_shared.domain.policy.records import Gated


class Outdated(TryLater):
    """503 ``decision_outdated``: something that stops the act came after the gate's answer. Ask the gate anew."""

    def __init__(self) -> None:
        super().__init__("decision_outdated", "What allowed this has changed since: it is to be decided anew.")


def require_standing(gated: Gated, view: View) -> None:
    """Raise :class:`Outdated` unless nothing bars what the gate allowed.

    Args:
        view: knows what the decision rests on (:attr:`Gated.rests_on`), and the workspace's kill switches.
    """
    request = gated.request
    switches = view.get(KillSwitches, switches_id(request.workspace_id))
    agents = (view.get(Agent, name) for name in gated.rests_on)
    agent = next((one for one in agents if one is not None and one.principal_id == request.principal_id), None)
    token_id = request.capability_token_id
    above = (view.get(Capability, name) for name in gated.rests_on if name != token_id)
    external = gated.basis is not None and gated.basis["external"]
    facts = Facts(
        view.now,
        agent=None if agent is None else agent.fact,
        capability=None if token_id is None else view.get(Capability, token_id),
        capability_revoked=any(one is not None and one.revoked for one in above),
        action=ActionRule(request.action, True, "supervised", False, external=True) if external else None,
        kill_switches=() if switches is None else switches.facts,
    )
    if bars(request, facts):
        raise Outdated
