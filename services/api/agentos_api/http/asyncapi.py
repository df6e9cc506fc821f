"""The AsyncAPI document (3.0) of what integrations see on NATS: the events, and the commands by request/reply."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from agentos_api.command_type import CommandType
from agentos_api.http.calls import Call
from agentos_api.http.problem import Problem
from agentos_api.routes.events import Event
from agentos_shared.contracts import subjects
from agentos_shared.domain.catalog import EVENT_TYPES

_REF: Final = "#/components/schemas/{model}"

_EVENT_HEADERS: Final = {
    subjects.HEADER_EVENT_ID: "event_id; de-duplicates within JetStream's window",
    subjects.HEADER_STREAM_SEQ: "stream_seq: place in the event's own stream",
    subjects.HEADER_TRACEPARENT: "W3C trace context",
    subjects.HEADER_CE_SPECVERSION: "CloudEvents 1.0, binary mode",
    subjects.HEADER_CE_ID: "event_id",
    subjects.HEADER_CE_SOURCE: "the stream, as a URI reference",
    subjects.HEADER_CE_TYPE: "event_type",
    subjects.HEADER_CE_TIME: "occurred_at",
    subjects.HEADER_CE_SUBJECT: "entity_type and entity_id",
}


def document(kinds: Sequence[CommandType], version: str, calls: Sequence[Call] = ()) -> dict[str, Any]:
    """The document as a JSON object."""
    asked: list[CommandType | Call] = [*kinds, *calls]
    _, definitions = models_json_schema(
        [(kind.body, "validation") for kind in asked] + [(Event, "serialization"), (Problem, "serialization")],
        ref_template=_REF,
    )
    channels: dict[str, Any] = {"events": _events()}
    operations: dict[str, Any] = {
        "receiveEvents": {
            "action": "receive",
            "channel": {"$ref": "#/channels/events"},
            "summary": "At least once, in order per stream. De-duplicate on event_id, or on stream and stream_seq.",
        }
    }
    for kind in asked:
        channels[kind.name] = _command(kind)
        operations[f"send.{kind.name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{kind.name}"},
            "summary": "Request/reply; the reply is the HTTP answer, or a problem document with its status.",
            "messages": [{"$ref": f"#/channels/{kind.name}/messages/command"}],
            "reply": {
                "address": {"location": "$message.header#/reply-to"},
                "messages": [{"$ref": f"#/channels/{kind.name}/messages/refused"}],
            },
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Agent OS on NATS", "version": version},
        "channels": channels,
        "operations": operations,
        "components": {"schemas": definitions["$defs"]},
    }


def _events() -> dict[str, Any]:
    headers = {name: {"type": "string", "description": about} for name, about in _EVENT_HEADERS.items()}
    return {
        "address": "agentos.evt.{workspace_id}.{stream_type}.{stream_id}.{event_type}",
        "description": f"JetStream stream {subjects.EVENTS_STREAM}. The dots of an event's type are tokens.",
        "parameters": {
            "workspace_id": {"description": "1 to 64 of the characters A-Z a-z 0-9 _ -"},
            "stream_type": {"enum": ["room", "workspace"]},
            "stream_id": {"description": "The room's id, or the workspace's."},
            "event_type": {"enum": sorted(EVENT_TYPES)},
        },
        "messages": {
            "event": {
                "contentType": "application/json",
                "headers": {"type": "object", "properties": headers},
                "payload": {"$ref": _REF.format(model="Event")},
            }
        },
    }


def _command(kind: CommandType | Call) -> dict[str, Any]:
    payload: dict[str, Any] = {"$ref": _REF.format(model=kind.body.__name__)}
    parameters = kind.parameters if isinstance(kind, Call) else [kind.parameter] if kind.parameter else []
    if parameters:
        properties = {name: {"type": "string"} for name in parameters}
        parent = {"type": "object", "required": parameters, "properties": properties}
        payload = {"description": "The HTTP body, with the id of its path.", "allOf": [parent, payload]}
    return {
        "address": f"agentos.cmd.{{workspace_id}}.{kind.name}",
        "parameters": {"workspace_id": {"description": "1 to 64 of the characters A-Z a-z 0-9 _ -"}},
        "messages": {
            "command": {"contentType": "application/json", "payload": payload},
            "refused": {"contentType": "application/json", "payload": {"$ref": _REF.format(model="Problem")}},
        },
    }
