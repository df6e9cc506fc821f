"""Commands of labels, and of access to what is labelled."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reference, Wanted
from agentos_shared.domain import data_access, ids, resource_labels
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.data_access import RequestAccess
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.policy.evaluate import DATA_ACTIONS
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.resource_labels import LabelResource, ResourceLabel, label_id, resource_of


def _label_of(workspace_id: str, body: LabelResource) -> str:
    return label_id(workspace_id, resource_of(body.resource_type, body.resource_id))


def _room(body: LabelResource) -> tuple[Reference, ...]:
    return () if body.room_id is None else (("room", body.room_id),)


def _labelled(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    label = view.get(ResourceLabel, command.entity_id)
    return {} if label is None else {"label": label.told()}


def _home(body: RequestAccess) -> Reference | None:
    for kind, entity_id in (("run", body.run_id), ("room", body.room_id)):
        if entity_id is not None:
            return kind, entity_id
    return None


def _named(body: RequestAccess) -> tuple[Reference, ...]:
    named = (("room", body.room_id), ("step", body.step_id))
    return tuple((kind, entity_id) for kind, entity_id in named if entity_id is not None)


def _concerned(body: RequestAccess, home: Location) -> tuple[str, ...]:
    room = (home.stream.id,) if home.stream.type == "room" else ()
    return (label_id(home.workspace_id, resource_of(body.resource_type, body.resource_id)), *room)


def _wish(command: Command[RequestAccess], _home: Location) -> Wanted:
    body, meta = command.body, command.meta
    action = normalised(body.action or "")
    if action not in DATA_ACTIONS:
        raise Invalid("invalid_action", "action must be data.read or data.write.")
    if None not in (body.room_id, command.room_id) and body.room_id != command.room_id:
        raise Invalid("run_room_mismatch", "The run is of another room than room_id.")
    resource = resource_of(body.resource_type, body.resource_id)
    tags = tuple(dict.fromkeys(body.purpose_tags or ()))
    parameters = {"resource": resource, "purpose_tags": list(tags), **body.context}
    request = Request(
        workspace_id=meta.workspace_id,
        category="data_access",
        action=action,
        actor=meta.actor,
        digest=action_digest(meta.workspace_id, action, meta.actor, command.room_id, body.run_id, parameters),
        principal_id=body.principal_id,
        capability_token_id=body.capability_token_id,
        room_id=command.room_id,
        run_id=body.run_id,
        step_id=body.step_id,
        resource=resource,
        purpose_tags=tags,
        justification=body.justification,
        context=parameters,
    )
    return request, body.zone


def _answer(command: Command[RequestAccess], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    label = data_access.resolved(command.loaded, view)
    return {
        **command.loaded.answer(),
        "resolved_label": label.label,
        "resolved_room_id": label.room_id,
        "resolved_purpose_tags": list(label.purpose_tags),
    }


DATA_ACCESS: Final = (
    CommandType(
        name="resource_label.set",
        path="/v1/resources/labels",
        body=LabelResource,
        decide=resource_labels.label,
        entity=_label_of,
        refs=_room,
        extra=_labelled,
    ),
    CommandType(
        name="data_access.request",
        path="/v1/data/access/requests",
        body=RequestAccess,
        decide=data_access.request,
        prefix=ids.DECISION,
        answers="decision_id",
        home=_home,
        refs=_named,
        reads=_concerned,
        gate=_wish,
        extra=_answer,
        status=200,
    ),
)
