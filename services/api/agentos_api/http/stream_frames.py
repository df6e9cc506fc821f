"""The frames of a live stream as the OpenAPI document tells of them; ``live/frames.py`` writes them."""

from collections.abc import Mapping
from typing import Any, Final

IN_WORDS: Final = """Server-sent events (in the schema one object a frame, its `data` parsed):

- without name: an event of the stream, `data` its envelope, `id` its `stream_seq`; history first, then live;
- `caught_up`: history is done, what follows is live; once a connection;
- `reset`: the cursor lay beyond the head, as after a restored backup; its `id` moves it back to the head;
- `gone`: the server closes; come back with the last `id`.

A comment keeps an idle connection open. `retry` tells how long to wait before coming back."""


def _frame(name: str | None, data: Mapping[str, Any], *, has_id: bool = True) -> dict[str, Any]:
    members: dict[str, Any] = {"data": data}
    if name is not None:
        members["event"] = {"const": name}
    if has_id:
        members["id"] = {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "A stream_seq."}
    return {"type": "object", "required": sorted(members), "properties": members, "additionalProperties": False}


def _told(member: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [member], "properties": {member: schema}, "additionalProperties": False}


_HEAD: Final = _told("head_seq", {"type": "integer", "minimum": 0})
SCHEMA: Final[Mapping[str, Any]] = {
    "oneOf": [
        _frame(None, {"$ref": "#/components/schemas/Event"}),
        _frame("caught_up", _HEAD),
        _frame("reset", _HEAD),
        _frame("gone", _told("reason", {"type": "string", "examples": ["slow", "draining"]}), has_id=False),
    ]
}
AS_SENT: Final = (
    'retry: 2000\n\nid: 7\ndata: {"event_type":"message.created","stream_seq":7, ...}\n\n'
    'event: caught_up\nid: 7\ndata: {"head_seq":7}\n\n:\n\n'
)
