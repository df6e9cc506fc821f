"""Every reason code of the gate, with words for people. Codes are only ever added."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Reason:
    """What a code means.

    Args:
        text: a sentence for people.
        next_steps: what can be done about it.
        severity: how much it should worry somebody.
        retryable: whether the same request may be answered otherwise without anybody doing anything.
    """

    text: str
    next_steps: tuple[str, ...] = ()
    severity: Literal["info", "warning", "high"] = "warning"
    retryable: bool = False


_ASK: Final = ("Ask for an approval with the action_digest of this answer: POST /v1/approvals.",)
_TOKEN: Final = ("Use a capability that covers this, or have one granted: POST /v1/capabilities/grant.",)
_AGENT: Final = ("Send the principal_id that registering this agent answered, with its agent_id as actor_id.",)

REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        "default_allow": Reason("Nothing speaks against it.", severity="info"),
        "approval_allows_action": Reason("An approval allows it.", severity="info"),
        "kill_switch_active": Reason(
            "A kill switch is engaged.", ("Wait until a person releases it: GET /v1/policy/kill-switch.",), "high"
        ),
        "kill_switch_unknown": Reason(
            "It is not known whether a kill switch is engaged, so nothing leaves this machine.",
            ("Try again in a moment.",),
            "high",
            True,
        ),
        "agent_principal_required": Reason("An agent must say which principal it acts as.", _AGENT),
        "agent_principal_not_found": Reason("No agent of this workspace has that principal.", _AGENT),
        "agent_actor_id_mismatch": Reason("That principal is another agent's.", _AGENT, "high"),
        "agent_quarantined": Reason(
            "This agent is in quarantine: it may read and nothing else.",
            ("A person lifts it: POST /v1/agents/{agent_id}/unquarantine.",),
            "high",
        ),
        "capability_token_not_found": Reason("There is no such capability in this workspace.", _TOKEN),
        "capability_token_revoked": Reason(
            "This capability, or one that it was delegated from, was revoked.", _TOKEN, "high"
        ),
        "capability_token_expired": Reason("This capability has expired.", _TOKEN),
        "capability_token_principal_mismatch": Reason(
            "This capability was issued to another principal.",
            ("Send the principal_id that it was issued to.",),
            "high",
        ),
        "capability_bearer_required": Reason(
            "The uses of this capability are counted, so its id alone is not enough.",
            ("Show the token that the grant answered: `Authorization: Bearer`.",),
        ),
        "capability_scope_zone_exceeded": Reason("This capability may not be used in a zone this high.", _TOKEN),
        "capability_scope_room_required": Reason(
            "This capability is for some rooms; say which one.", ("Send room_id.",)
        ),
        "capability_scope_room_not_allowed": Reason("This capability does not cover this room.", _TOKEN),
        "capability_scope_action_type_required": Reason("This capability covers no actions.", _TOKEN),
        "capability_scope_action_not_allowed": Reason("This capability does not cover this action.", _TOKEN),
        "capability_scope_tool_required": Reason("This capability covers no tools.", _TOKEN),
        "capability_scope_tool_not_allowed": Reason("This capability does not cover this tool.", _TOKEN),
        "capability_scope_context_missing_tool_name": Reason(
            "Say which tool it is: this capability is for some tools.", ("Send tool_name.",)
        ),
        "capability_scope_data_access_required": Reason("This capability covers no data.", _TOKEN),
        "capability_scope_data_access_not_allowed": Reason(
            "This capability does not cover data of this label.", _TOKEN
        ),
        "capability_scope_egress_domain_required": Reason("This capability covers no hosts.", _TOKEN),
        "capability_scope_context_missing_egress_domain": Reason(
            "Say which host it goes to: this capability is for some hosts.", ("Send the target's URL.",)
        ),
        "capability_scope_domain_not_allowed": Reason("This capability does not cover this host.", _TOKEN),
        "action_zone_requires_high_stakes": Reason("This action belongs into the zone high_stakes.", _ASK),
        "action_zone_mismatch": Reason(
            "This action is not for this zone.",
            ("Do it in the zone that the registry names: GET /v1/action-registry.",),
        ),
        "action_irreversible_requires_high_stakes": Reason(
            "What cannot be undone belongs into the zone high_stakes.", _ASK
        ),
        "action_pre_approval_required": Reason("This action needs an approval of exactly what is to be done.", _ASK),
        "external_write_requires_approval": Reason("What leaves this machine needs an approval.", _ASK),
        "egress.host_not_allowed": Reason(
            "An egress rule denies requests like this one.",
            ("See determining_rules and GET /v1/egress/rules; propose another rule: POST /v1/egress/proposals.",),
        ),
        "egress.rule_requires_approval": Reason("An egress rule asks for an approval of requests like this one.", _ASK),
        "egress.rule_allows": Reason("An egress rule allows requests like this one.", severity="info"),
        "egress.rate_limited": Reason(
            "The rate limit of an egress rule is reached.", ("Try again after retry_after seconds.",), "info", True
        ),
        "quota_exceeded": Reason(
            "This workspace's quota of requests that leave the machine is used up.",
            ("Try again after retry_after seconds; EGRESS_MAX_REQUESTS_PER_HOUR sets it.",),
            retryable=True,
        ),
        "zone.unregistered_requires_approval": Reason(
            "An action that nobody registered needs an approval in the zone high_stakes.", _ASK
        ),
        "zone.action_not_allowed": Reason(
            "Actions of this kind are not done in this zone.", ("Do it in another zone: GET /v1/action-registry.",)
        ),
        "zone.action_requires_approval": Reason("Actions of this kind need an approval in this zone.", _ASK),
        "zone.users_only": Reason("Only people do this.", ("Ask a person to do it.",)),
        "data_access_restricted_room_mismatch": Reason(
            "Restricted data may be touched in its own room only.", ("Do it in that room.",)
        ),
        "data_access_purpose_hint_mismatch": Reason(
            "These data are for another purpose.", ("Send a purpose tag of theirs, or a justification.", *_ASK)
        ),
        "policy.rule_matched": Reason("A policy of this installation says so.", ("See determining_rules.",)),
        "policy.no_match_default": Reason(
            "No policy of this installation permits it.", ("Add a permit to the policy bundle.",)
        ),
        "policy.error_fail_closed": Reason(
            "A policy could not be evaluated, so the answer is no.",
            ("Repair the policy that determining_rules names; the policy service's log has more.",),
            "high",
        ),
        "constraint.learned": Reason(
            "A constraint that was learned, and that a person activated, says so.",
            ("See GET /v1/constraints; a person can retire it.",),
        ),
        "approval_denied": Reason(
            "A person denied it.", ("Do not ask for the same again; read the decision's reason: GET /v1/approvals.",)
        ),
        "approval_edited": Reason(
            "A person allowed something else in its place.",
            ("Ask for what was allowed in its place: edited_request of the approval.",),
        ),
        "tool_failed": Reason("A tool failed with this.", ("Call it with another input, or do it another way.",)),
        "policy_unavailable": Reason(
            "The policy service cannot answer with what is known now, so the answer is no.",
            ("Try again in a moment; GET /readyz tells more.",),
            "high",
            True,
        ),
    }
)
