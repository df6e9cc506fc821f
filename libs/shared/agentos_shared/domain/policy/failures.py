"""What is learned from what went wrong besides refusals of the gate: what people denied or rewrote, tools that failed.

It is counted and remembered as a refusal is (:mod:`agentos_shared.domain.policy.learning`), and blocks nothing by
itself, so that it leads to no quarantine.
"""

from typing import Any, Literal, NamedTuple

from agentos_shared.domain import ids
from agentos_shared.domain.decider import View
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.policy import learning
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.learning import NEVER, Counts
from agentos_shared.domain.policy.reasons import REASONS

Code = Literal["approval_denied", "approval_edited", "tool_failed"]


class Failure(NamedTuple):
    """Something that went wrong.

    Args:
        request: what was wanted, by whom.
        elsewhere: how often the same went wrong in other streams (:func:`learning.chain`).
    """

    code: Code
    request: Request
    elsewhere: Counts = NEVER

    @property
    def learned_ids(self) -> tuple[str, ...]:
        """The constraint that it counts for: its events are decided on that."""
        return (learning.learned_id(self.request, self._decision(), blocked=False),)

    @property
    def counted_by(self) -> tuple[str, str]:
        """Under which subject and which pattern it is counted."""
        decision = self._decision()
        subject, _ = learning.subject_of(self.request, decision)
        return subject, learning.pattern_hash(self.request, decision, blocked=False)

    def lessons(self, about: NewEvent, view: View, reason: str | None = None) -> list[NewEvent]:
        """What is learned, for the append of the event that tells of it.

        Args:
            about: that event. The lessons are of the same stream, actor and correlation.
            reason: in words, as somebody gave it.
        """
        name = ids.derived_id(ids.DECISION, about.entity_id, self.code, str(view.version(about.entity_id)))
        told: dict[str, Any] = {"decision_id": name, "blocked": False, "enforcement_mode": "enforce"}
        bare = about._replace(event_type="", entity_type="decision", entity_id=name, data=told, display={})
        decision = self._decision(reason)
        return learning.chain(bare, self.request, decision, view, asked_before=False, elsewhere=self.elsewhere)

    def _decision(self, reason: str | None = None) -> Decision:
        known = REASONS[self.code]
        return Decision(
            decision="deny",
            reason_code=self.code,
            reason=reason or known.text,
            reason_codes=(self.code,),
            next_steps=known.next_steps,
            determining_rules=(),
            action_digest=self.request.digest,
            policy_bundle_hash="none",
            zone=self.request.zone,
        )
