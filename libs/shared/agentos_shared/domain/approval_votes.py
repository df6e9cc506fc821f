"""Approvals that several people must give: each says yes to the same terms, and nobody counts twice."""

from typing import Any, Final, NamedTuple

from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import Conflict

VOTE: Final = "approval.vote_recorded"


class Terms(NamedTuple):
    """What somebody says yes to.

    Args:
        scope: effective. expires_at: as given, RFC 3339; None: what is usual when it is decided.
        edited_request: what is approved in place of the request.
    """

    scope: dict[str, Any]
    expires_at: str | None
    action_digest: str | None
    edited_request: dict[str, Any] | None

    def told(self) -> dict[str, Any]:
        """As events and problems tell it."""
        return self._asdict()


class Votes(NamedTuple):
    """Who has approved so far.

    Args:
        required: people that it takes. voters: principals, in order. terms: of all of them; None: nobody has yet.
    """

    required: int = 1
    voters: tuple[str, ...] = ()
    terms: Terms | None = None

    def require_new(self, voter: Actor, terms: Terms) -> None:
        """Raise Conflict ``approval_already_voted`` or ``approval_terms_differ`` unless a vote counts."""
        if voter.principal_id in self.voters:
            raise Conflict(
                "approval_already_voted", "You approved this before; now others must, and only a denial ends it."
            )
        if self.terms is not None and terms != self.terms:
            raise Conflict(
                "approval_terms_differ",
                "Whoever approved before you said yes to other terms; approve the same ones, or deny it.",
                terms=self.terms.told(),
            )

    def and_(self, voter: Actor, terms: Terms) -> "Votes":
        """These and one more."""
        return Votes(self.required, (*self.voters, voter.principal_id), terms)

    @property
    def enough(self) -> bool:
        """Whether nobody else has to approve."""
        return len(self.voters) >= self.required
