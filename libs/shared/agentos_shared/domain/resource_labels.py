"""Labels of resources: how careful one must be with some data, in which room they may be touched, and what for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from agentos_shared.domain import ids
from agentos_shared.domain.agents import refuse_agents
from agentos_shared.domain.capabilities import refuse_engines
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.policy.facts import DataLabel, Label

PurposeTags = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=50)]
ResourceName = Annotated[str, Field(max_length=500)]


class LabelResource(CommandBody):
    """Labels a resource, in place of the label that it has. It needs ``resource_type``, ``resource_id`` and ``label``.

    ``restricted`` data may be touched in the room ``room_id`` only; of ``confidential`` and ``sensitive_pii`` ones
    ``purpose_tags`` tell what for.
    """

    resource_type: ResourceName | None = None
    resource_id: ResourceName | None = None
    label: Label | None = None
    room_id: str | None = Field(None, min_length=1, max_length=64)
    purpose_tags: PurposeTags | None = None


@dataclass(frozen=True, slots=True)
class ResourceLabel:
    """The label of a resource."""

    workspace_id: str
    resource_type: str
    resource_id: str
    fact: DataLabel

    def told(self) -> dict[str, Any]:
        """As it is answered and recorded."""
        return {
            "resource_type": self.resource_type,
            "resource_id": self.resource_id,
            "label": self.fact.label,
            "room_id": self.fact.room_id,
            "purpose_tags": list(self.fact.purpose_tags),
        }


def resource_of(resource_type: str | None, resource_id: str | None) -> str:
    """A resource as one text, as the gate takes it. Raises Invalid: ``invalid_resource``."""
    kind, name = (resource_type or "").strip(), (resource_id or "").strip()
    if not kind or not name or "/" in kind:
        raise Invalid(
            "invalid_resource", "resource_type and resource_id are required, and the type holds no slash: file, a.csv."
        )
    return f"{kind}/{name}"


def label_id(workspace_id: str, resource: str) -> str:
    """The id of the label of a resource."""
    return ids.derived_id(ids.RESOURCE_LABEL, workspace_id, resource)


def label(command: Command[LabelResource], view: View) -> list[NewEvent]:
    """``resource.labelled``, or nothing when it is labelled so already.

    Raises:
        Invalid: ``invalid_resource``, ``invalid_label``.
        Forbidden: ``engine_action_not_allowed``, ``agent_action_not_allowed``.
    """
    body, meta = command.body, command.meta
    kind, _, name = resource_of(body.resource_type, body.resource_id).partition("/")
    if body.label is None:
        raise Invalid("invalid_label", "label must be public, internal, restricted, confidential or sensitive_pii.")
    refuse_engines(meta)
    refuse_agents(meta)
    expect_version(command, view)
    tags = tuple(dict.fromkeys(body.purpose_tags or ()))
    wanted = ResourceLabel(meta.workspace_id, kind, name, DataLabel(body.label, body.room_id, tags))
    if view.get(ResourceLabel, command.entity_id) == wanted:
        return []
    return [
        NewEvent(
            event_type="resource.labelled",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="resource_label",
            entity_id=command.entity_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data=wanted.told(),
        )
    ]


def evolve(state: ResourceLabel | None, event: Event) -> ResourceLabel | None:
    """Fold one event of a label."""
    if event.event_type == "resource.labelled":
        data: Mapping[str, Any] = event.data
        fact = DataLabel(data["label"], data["room_id"], tuple(data["purpose_tags"] or ()))
        return ResourceLabel(event.workspace_id, data["resource_type"], data["resource_id"], fact)
    return state
