"""What the commands of approvals take."""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from agentos_shared.domain.actions import ActionDigest, ActionName
from agentos_shared.domain.approval_scopes import Id, Scope
from agentos_shared.domain.capabilities import Instant
from agentos_shared.domain.decider import CommandBody
from agentos_shared.domain.envelope import ActorType

Decision = Literal["approve", "deny", "hold"]
Text = Annotated[str, Field(max_length=20_000)]
Json: TypeAlias = dict[str, Any]
#: People that a request may need.
MOST_APPROVALS: Final = 5


class Escalation(BaseModel):
    """Whom to tell when a request has been pending for so long."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    after_s: int = Field(ge=1, le=30 * 86_400)
    notify: str = Field(min_length=1, max_length=200)


class CreateApproval(CommandBody):
    """Asks a person to allow an action. Nobody may act before the answer, and silence is a no: at ``decide_by`` (by
    default in 24 hours, ``interactive`` ones in one) the request expires. ``expires_at`` ends what the approval allows.
    Without ``scope`` it allows exactly this action, once: ``action_digest`` tells which, and is made from ``action``,
    ``request``, the place and the actor. One that is given must be of just these; without ``request``, it must be of a
    decision of the gate in the last day, whose parameters then are the request. ``supersedes`` names an open request of
    the same room that this one replaces. Of ``escalation`` each step becomes an ``approval.escalated`` when the request
    has been pending for so long. ``required_approvals`` is how many people must approve it, on the same terms; one
    denial is enough to deny it.
    """

    action: ActionName
    title: str | None = Field(None, max_length=500)
    request: Json = Field(default_factory=dict)
    context: Json = Field(default_factory=dict)
    room_id: Id | None = None
    thread_id: Id | None = None
    run_id: Id | None = None
    step_id: Id | None = None
    scope: Scope | None = None
    expires_at: Instant | None = None
    decide_by: Instant | None = None
    interactive: bool = False
    action_digest: ActionDigest | None = None
    supersedes: Id | None = None
    escalation: list[Escalation] = Field(default_factory=list, max_length=5)
    required_approvals: int = Field(1, ge=1, le=MOST_APPROVALS)


class DecideApproval(CommandBody):
    """Answers a request: ``approve``, ``deny``, or ``hold`` for not now. Only people may. An approval or a denial is
    final. ``scope`` and ``expires_at`` replace those that were asked for. A hold stops the clock of the request until
    ``wake_at``, where that is given. ``expected_digest`` refuses to decide on anything but that action.
    ``edited_request`` approves this in place of what was asked for: the digest is then of this, and the gate must not
    deny it, now and when it is done. Where several people must approve, each says the same: another ``scope``,
    ``expires_at`` or ``edited_request`` than that of whoever approved first is refused. ``expected_policy_hash``
    refuses it once other policies are in force. The same decision with the same ``client_token`` is taken once.
    """

    decision: Decision
    reason: Text | None = None
    scope: Scope | None = None
    expires_at: Instant | None = None
    wake_at: Instant | None = None
    expected_digest: ActionDigest | None = None
    expected_policy_hash: str | None = Field(None, max_length=100)
    edited_request: Json | None = None
    client_token: str | None = Field(None, min_length=1, max_length=128)

    def speaker(self) -> tuple[ActorType, str]:
        """Who decides when nobody is named."""
        return "user", "ceo"


class CancelApproval(CommandBody):
    """Takes a request back: by whoever asked, or by a person."""

    reason: Text | None = None


class ConsumeApproval(CommandBody):
    """Uses an approval right before the act that it allows, unless the gate denies that now. One of ``once`` is used
    up, by whoever asked for it, the holder of its run, or a person; of a grant a use is counted. ``action_digest``
    (required) is that of the act. For a grant tell the act that it is of: ``action``, ``parameters``, ``room_id`` and
    ``run_id``, and for the grant's scope ``thread_id`` and ``resource``.
    """

    action_digest: ActionDigest
    action: ActionName | None = None
    room_id: Id | None = None
    thread_id: Id | None = None
    run_id: Id | None = None
    resource: str | None = Field(None, max_length=4000)
    parameters: Json = Field(default_factory=dict)


class RevokeGrant(CommandBody):
    """Ends what an approval allows, at once and for good. Only people may."""

    reason: Text | None = None

    def speaker(self) -> tuple[ActorType, str]:
        """Who revokes when nobody is named."""
        return "user", "ceo"


class SeeApproval(CommandBody):
    """Notes that a person has seen a request. The first time counts, while it can be decided; then nothing happens."""

    def speaker(self) -> tuple[ActorType, str]:
        """Who sees it when nobody is named."""
        return "user", "ceo"


class DeliverApproval(CommandBody):
    """Notes that its answer has reached somebody who waited for it."""


class NotifyApproval(CommandBody):
    """Notes that a channel was told of a request, or why it was not."""

    channel: str = Field(min_length=1, max_length=200)
    step: int | None = Field(None, ge=1)
    failure: str | None = Field(None, max_length=500)


class ExpireApproval(CommandBody):
    """Does what its time has brought about: a request expires or wakes, what was allowed lapses."""
