"""Asking to read or write labelled data: the gate decides, and the label that it decided on is answered."""

from typing import Any

from pydantic import Field

from agentos_shared.domain.actions import ActionName
from agentos_shared.domain.decider import Command, CommandBody, View
from agentos_shared.domain.envelope import NewEvent, Zone
from agentos_shared.domain.policy.facts import DataLabel
from agentos_shared.domain.policy.records import Gated, Id, recorded
from agentos_shared.domain.resource_labels import PurposeTags, ResourceLabel, ResourceName, label_id


class RequestAccess(CommandBody):
    """Asks to read or write data. ``action`` (data.read or data.write), ``resource_type`` and ``resource_id`` are
    required. What is not labelled counts as ``internal``.
    """

    action: ActionName | None = None
    resource_type: ResourceName | None = None
    resource_id: ResourceName | None = None
    room_id: Id | None = None
    run_id: Id | None = None
    step_id: Id | None = None
    purpose_tags: PurposeTags | None = None
    justification: str | None = Field(None, min_length=1, max_length=4000)
    context: dict[str, Any] = Field(default_factory=dict)
    principal_id: Id | None = None
    capability_token_id: Id | None = None
    zone: Zone | None = None


def request(command: Command[RequestAccess], view: View) -> list[NewEvent]:
    """Events of the decision, ``command.loaded``; then what the label makes of the purpose, ``data.access.denied``."""
    gated: Gated = command.loaded
    events = recorded(command.entity_id, gated, command.meta, view)
    label = resolved(gated, view)
    asked = gated.request
    about = {
        "decision_id": command.entity_id,
        "action": asked.action,
        "resource": asked.resource,
        "label": label.label,
        "label_room_id": label.room_id,
        "label_purpose_tags": list(label.purpose_tags),
        "purpose_tags": list(asked.purpose_tags),
        "justification": asked.justification,
    }
    names: list[str] = []
    if label.purpose_tags and not set(label.purpose_tags) & set(asked.purpose_tags):
        names = ["data.access.purpose_hint_mismatch"]
        names.append("data.access.justified" if asked.justification else "data.access.unjustified")
    if gated.decision.decision == "deny":
        names.append("data.access.denied")
    last = events[0]
    told = {**about, "decision": gated.decision.decision, "reason_code": gated.decision.reason_code}
    return [*events, *(last._replace(event_type=name, data=told, policy_context={}) for name in names)]


def resolved(gated: Gated, view: View) -> DataLabel:
    """The label of the resource that was asked for."""
    asked = gated.request
    label = view.get(ResourceLabel, label_id(asked.workspace_id, asked.resource or ""))
    return DataLabel() if label is None else label.fact
