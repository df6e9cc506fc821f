"""What a decision brings besides itself: one that is sent again is taken once, and what moved meanwhile is told."""

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentos_shared.domain.approval_bodies import DecideApproval
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.decider import Meta
from agentos_shared.domain.errors import Conflict, Contradiction, TryLater

if TYPE_CHECKING:
    from agentos_shared.domain.policy.failures import Failure

#: Decisions of an approval whose tokens are remembered.
REMEMBERED: Final = 8
#: What the gate says of who asks and of switches. That is looked at when it is done; a person may decide before.
_LATER: Final = frozenset(
    {
        "agent_actor_id_mismatch",
        "agent_principal_not_found",
        "agent_principal_required",
        "kill_switch_active",
        "kill_switch_unknown",
    }
)
_UNAVAILABLE: Final = "policy_unavailable"


class Answered(NamedTuple):
    """A decision that came with a ``client_token``, and the digest of who said what."""

    client_token: str
    digest: str


class Review(NamedTuple):
    """What the gate says, as a decision is taken, of that which would be allowed.

    Args:
        policy_bundle_hash: of the policies in force.
        denials: ids of the rules that forbid it. reason_codes: of the decision.
        widened: in what an edit is more than what was asked for (``policy/assessment.py``).
    """

    policy_bundle_hash: str
    denials: tuple[str, ...] = ()
    reason_codes: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()


class Deciding(NamedTuple):
    """What deciding needs to know besides states.

    Args:
        review: None: nobody asked the gate.
        failure: what is learned from; None: nothing.
    """

    now: datetime
    review: Review | None = None
    failure: "Failure | None" = None

    @property
    def learned_ids(self) -> tuple[str, ...]:
        """As :attr:`Failure.learned_ids`."""
        return () if self.failure is None else self.failure.learned_ids


def answered(body: DecideApproval, meta: Meta) -> Answered | None:
    """What is remembered of a decision; None: it came without a token."""
    if body.client_token is None:
        return None
    said = body.model_dump(mode="json", include=set(_SAID), exclude_none=True)
    told = canonical({"principal_id": meta.actor.principal_id, **said})
    return Answered(body.client_token, "sha256:" + hashlib.sha256(told).hexdigest())


_SAID: Final = ("decision", "reason", "scope", "expires_at", "wake_at", "edited_request", "expected_digest")


def is_repeated(answer: Answered | None, before: Collection[Answered]) -> bool:
    """Whether this very decision was taken before.

    Raises:
        Contradiction: ``client_token_reused``: another one came with that token.
    """
    if answer is None or all(answer.client_token != one.client_token for one in before):
        return False
    if answer not in before:
        raise Contradiction("client_token_reused", "Another decision on this approval came with this client_token.")
    return True


def require_reviewed(body: DecideApproval, review: Review | None) -> None:
    """Refuse what the policies in force do not allow any more, or no longer are those that the decision is taken on.

    Raises:
        Conflict: ``approval_policy_changed``, ``approval_policy_denies``, ``approval_edit_widens``.
        TryLater: ``policy_unavailable``.
    """
    if not needs_review(body):
        return
    if review is None or _UNAVAILABLE in review.denials:
        raise TryLater("policy_unavailable", "The policy service cannot be asked now; try again.")
    expected = body.expected_policy_hash
    if expected is not None and review.policy_bundle_hash != expected:
        raise Conflict(
            "approval_policy_changed",
            "Other policies are in force than those that you decide on: read the approval again.",
            policy_bundle_hash=review.policy_bundle_hash,
        )
    denials = [rule for rule in review.denials if rule not in _LATER]
    if body.edited_request is not None and denials:
        raise Conflict(
            "approval_policy_denies",
            "No approval lifts what forbids this edited request.",
            denied_by=denials,
            reason_codes=list(review.reason_codes),
        )
    if body.edited_request is not None and review.widened:
        raise Conflict(
            "approval_edit_widens",
            "This edited request is more than what was asked for: deny it, and have that asked for.",
            widened=list(review.widened),
            reason_codes=list(review.reason_codes),
        )


def needs_review(body: DecideApproval) -> bool:
    """Whether the gate has a word in it: about what a person writes anew, and where the caller asks for it."""
    return body.edited_request is not None or body.expected_policy_hash is not None


def told(answer: Answered | None) -> dict[str, Any]:
    """As events tell it."""
    return {} if answer is None else {"client_token": answer.client_token, "answer_digest": answer.digest}


def remembered(before: tuple[Answered, ...], data: Mapping[str, Any]) -> tuple[Answered, ...]:
    """The decisions that came with a token, after an event with this ``data``."""
    if "client_token" not in data:
        return before
    answer = Answered(data["client_token"], data["answer_digest"])
    return before if answer in before else (*before, answer)[-REMEMBERED:]
