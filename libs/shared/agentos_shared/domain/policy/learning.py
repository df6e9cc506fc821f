"""What is learned from a refusal: a pure function from the refusal's event to those that follow it."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.constraints import Constraint, constraint_id
from agentos_shared.domain.decider import View
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.reasons import REASONS

#: What the gate calls a category, and what it is called here.
_CATEGORIES: Final = {"action": "action", "tool_call": "tool", "data_access": "data", "egress": "egress"}
#: Refusals of whoever did not prove to be the agent that it says it is: they are not that agent's.
UNPROVEN: Final = frozenset({"agent_principal_required", "agent_principal_not_found", "agent_actor_id_mismatch"})
#: Outages, stops and limits are nobody's mistakes: nothing is learned from them, and they lead to no quarantine.
NO_MISTAKES: Final = frozenset(
    {
        "policy_unavailable",
        "kill_switch_active",
        "kill_switch_unknown",
        "agent_quarantined",
        "egress.rate_limited",
        "quota_exceeded",
    }
)


class Counts(NamedTuple):
    """How often a subject was refused something.

    Args:
        seen: refusals. repeats: those of them that no approval was asked for before.
    """

    seen: int = 0
    repeats: int = 0


NEVER: Final = Counts()

MAX_DEPTH: Final = 4
MAX_MEMBERS: Final = 50
MAX_TEXT: Final = 200
_SECRET: Final = ("authorization", "cookie", "credential", "key", "password", "secret", "token")
_HIDDEN: Final = "[hidden]"
_CUT: Final = "[cut]"


def subject_of(request: Request, decision: Decision) -> tuple[str, str | None]:
    """Under which name whoever asked is remembered, and the agent's id where it is one that has proved it."""
    actor = request.actor
    if actor.type == "agent" and request.principal_id is not None and decision.reason_code not in UNPROVEN:
        return f"agent:{actor.id}", actor.id
    if request.principal_id is not None and decision.reason_code not in UNPROVEN:
        return f"principal:{request.principal_id}", None
    return f"actor:{actor.type}:{actor.id}", None


def sanitised(value: Any, depth: int = 0) -> Any:
    """A context as it is remembered: bounded in every direction, without what looks like a secret."""
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            return _CUT
        shown = sorted(value.items())[:MAX_MEMBERS]
        return {name: _HIDDEN if _is_secret(name) else sanitised(member, depth + 1) for name, member in shown}
    if isinstance(value, list | tuple):
        return _CUT if depth >= MAX_DEPTH else [sanitised(member, depth + 1) for member in value[:MAX_MEMBERS]]
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)


def pattern_hash(request: Request, decision: Decision, *, blocked: bool) -> str:
    """``sha256:`` and the digest of what makes two refusals the same."""
    pattern = {
        "category": _CATEGORIES[request.category],
        "action": request.action,
        "reason_code": decision.reason_code,
        "blocked": blocked,
        "context": sanitised(request.context),
    }
    return "sha256:" + hashlib.sha256(canonical(pattern)).hexdigest()


def learned_id(request: Request, decision: Decision, *, blocked: bool) -> str:
    """The id of the constraint that a refusal counts for; the view of :func:`chain` must know of it."""
    subject, _ = subject_of(request, decision)
    home = request.room_id or request.workspace_id
    return constraint_id(request.workspace_id, home, subject, pattern_hash(request, decision, blocked=blocked))


def chain(
    refusal: NewEvent,
    request: Request,
    decision: Decision,
    view: View,
    *,
    asked_before: bool,
    elsewhere: Counts = NEVER,
) -> list[NewEvent]:
    """``learning.from_failure``, ``constraint.learned``, and at the second repeat ``mistake.repeated``; nothing of what
    is nobody's mistake.

    Args:
        refusal: ``policy.denied`` or ``policy.requires_approval``; what follows it is of the same stream, actor and
            correlation.
        asked_before: whether an approval of exactly this is or was asked for: then asking again is no mistake.
        elsewhere: the most that any other stream of the workspace has counted up to. Each stream counts on from the
            most that is known, so that all count for the subject in the whole workspace.
    """
    if decision.reason_code in NO_MISTAKES:
        return []
    told = refusal.data
    subject, agent_id = subject_of(request, decision)
    name = learned_id(request, decision, blocked=told["blocked"])
    known = view.get(Constraint, name)
    seen = max(known.seen if known else 0, elsewhere.seen) + 1
    repeats = max(known.repeats if known else 0, elsewhere.repeats) + (not asked_before)
    reason = REASONS.get(decision.reason_code)
    about = {
        "category": _CATEGORIES[request.category],
        "action": request.action,
        "reason_code": decision.reason_code,
        "pattern_hash": pattern_hash(request, decision, blocked=told["blocked"]),
        "guidance": " ".join(reason.next_steps) if reason else None,
        "subject_key": subject,
        "principal_id": request.principal_id or request.actor.principal_id,
        "agent_id": agent_id,
        "decision_id": told["decision_id"],
    }
    counts = {"seen_count": seen, "repeat_count": repeats}
    failure = {
        **about,
        "decision": decision.decision,
        "reason": decision.reason,
        "enforcement_mode": told["enforcement_mode"],
        "blocked": told["blocked"],
        "context": sanitised(request.context),
        "capability_token_id": request.capability_token_id,
    }
    bare = refusal._replace(policy_context={})
    constraint = bare._replace(entity_type="constraint", entity_id=name)
    learned = {"constraint_id": name, **about, **counts, "blocked": told["blocked"], "gate_category": request.category}
    events = [
        bare._replace(event_type="learning.from_failure", data=failure),
        constraint._replace(event_type="constraint.learned", data=learned),
    ]
    if repeats == 2 and not asked_before:
        repeated = {"constraint_id": name, **about, **counts}
        events.append(constraint._replace(event_type="mistake.repeated", data=repeated))
    return events
