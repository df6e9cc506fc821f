"""Writes events.md beside this file from the code: the catalogue, the deciders, the command bodies, the envelope.

Each event that a command causes is really decided and sealed here, with fixed ids, so that the examples cannot drift
from the code. A test compares the file with what this makes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agentos_api.append import leaks
from agentos_api.append.stream_cache import ABSENT, Entry, advance
from agentos_api.command_type import CommandType
from agentos_api.command_types import COMMAND_TYPES
from agentos_shared import dlp
from agentos_shared.domain import principals
from agentos_shared.domain.catalog import AGGREGATES, EVENT_TYPES
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import Event, NewEvent, canonical_content, seal

TARGET = Path(__file__).with_name("events.md")
MOMENT = datetime(2026, 11, 24, 5, 30, 0, 123000, tzinfo=UTC)
META = Meta("ws_dev", principals.actor("ws_dev", "user", "ada"), "5b0a1c9e-3a1f-4c1e-9d0a-2f6f1f6f7a11")
ENTITIES = {
    "room": "room_01KAT0M8QR4N7Y2V5C1DJ9XEWB",
    "thread": "th_01KAT0MB3D6S9TQ8ZK2W7M4HRA",
    "message": "msg_01KAT0MDVX1PBC5E0G8NYJ3F6Q",
}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "room.create": {"title": "Ops desk", "topic": "night shift"},
    "thread.create": {"title": "Disk is filling up"},
    "message.create": {"content_md": "**/var** is at 91 %", "sender_type": "agent", "sender_id": "watcher"},
}
LEAK = "the key is ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"

#: One line for each member of the envelope; a member without one fails the generation.
ENVELOPE = {
    "event_id": "UUIDv7. The same event has the same id everywhere: deduplicate on it.",
    "event_type": "`noun.verb`, the verb in the past tense.",
    "event_version": "version of the payload; a breaking change is a new one.",
    "occurred_at": "when it happened; `recorded_at` unless the source says otherwise.",
    "recorded_at": "when the writer put it into the store.",
    "workspace_id": "1 to 64 of `A-Z a-z 0-9 _ -`.",
    "mission_id": "the room's.",
    "room_id": "the room that it belongs to.",
    "thread_id": "the thread that it belongs to.",
    "run_id": "reserved for runs.",
    "step_id": "reserved for runs.",
    "actor_type": "`user`, `service` or `agent`.",
    "actor_id": "who did it. In open mode this is the caller's own claim.",
    "actor_principal_id": "UUIDv5 of workspace, type and id: the same actor has the same one, always.",
    "zone": "`sandbox`, `supervised` or `high_stakes`; the room's.",
    "stream_type": "`room` or `workspace`.",
    "stream_id": "the room's or the workspace's id.",
    "stream_seq": "place in the stream: from 1, without gaps.",
    "entity_type": "what it is about: " + ", ".join(f"`{name}`" for name in sorted(set(EVENT_TYPES.values()))) + ".",
    "entity_id": "which one. All events of an entity are in one stream.",
    "entity_version": "place in the entity's life: from 1, without gaps.",
    "correlation_id": "one for all that belongs to one request, or as the caller gives it.",
    "causation_id": "the event that led to it: the entity's last one, unless something else did.",
    "redaction_level": "`none`, `partial` or `full`: what is missing from `data`.",
    "contains_secrets": "whether `data` held a secret, now redacted.",
    "data": "the payload, below.",
    "idempotency_key": "of the request that caused it.",
    "prev_event_hash": "`event_hash` of the event before in the stream.",
    "event_hash": "links this event to the one before; docs/security.md tells what that proves.",
}


class _Views:
    """Folded entities, as a decider reads them."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def get(self, kind: type[Any], entity_id: str) -> Any:
        state = self.entries.get(entity_id, ABSENT).state
        return state if isinstance(state, kind) else None

    def version(self, entity_id: str) -> int:
        return self.entries.get(entity_id, ABSENT).version

    def last_event_id(self, entity_id: str) -> str | None:
        return self.entries.get(entity_id, ABSENT).last_event_id

    def fold(self, event: Event) -> None:
        self.entries[event.entity_id] = advance(self.entries.get(event.entity_id, ABSENT), event)


def examples() -> list[tuple[Event, CommandType | None]]:
    """One event of every type, as one room tells them, each with the command that causes it."""
    views = _Views()
    told: list[tuple[Event, CommandType | None]] = []

    def place(news: Sequence[NewEvent], kind: CommandType | None) -> None:
        for new in news:
            event = seal(
                new,
                event_id=f"019ab3c4-5d6e-7f80-9123-{len(told) + 1:012x}",
                recorded_at=MOMENT,
                stream_seq=len(told) + 1,
                entity_version=views.version(new.entity_id) + 1,
                causation_id=views.last_event_id(new.entity_id),
                content=canonical_content(new.data, new.policy_context, new.model_context, new.display),
                salt=bytes(16),
                prev_event_hash=told[-1][0].event_hash if told else None,
            )
            views.fold(event)
            told.append((event, kind))

    for kind in COMMAND_TYPES:
        noun = kind.name.partition(".")[0]
        parent = ENTITIES[kind.parent] if kind.parent else None
        body = kind.body.model_validate(BODIES[kind.name])
        place(kind.decide(Command(body, META, ENTITIES[noun], parent, ENTITIES["room"]), views), kind)
    place(leaks.events_of(told[-1][0], dlp.scan({"content_md": LEAK})), None)
    return told


def text() -> str:
    """The whole file."""
    told = examples()
    missing = EVENT_TYPES.keys() - {event.event_type for event, _ in told}
    if missing:
        raise ValueError(f"no example of {sorted(missing)}: say in this file how it comes about")
    return (
        "\n".join([*_head(told[0][0]), *_overview(told), *(line for pair in told for line in _section(*pair))]) + "\n"
    )


INTRODUCTION = """\
<!-- Generated by `make docs` from the code: change it there. -->
# Events

The specification of what Agent OS records. Every change is one immutable event in one stream: `room/<room_id>` for what
belongs to a room, `workspace/<workspace_id>` for the rest. HTTP, SSE and NATS carry the same envelope; a member without
a value is null, never absent. Times are RFC 3339, UTC, with milliseconds. Readers ignore members and types that they do
not know; a breaking change of a payload is a new `event_version`.

## The envelope

| member | meaning |
| --- | --- |
"""
CONTEXTS = """\

`GET /v1/events/{event_id}` adds `policy_context`, `model_context` and `display`, objects that are empty so far.
"""


def _head(event: Event) -> Iterator[str]:
    yield INTRODUCTION + "\n".join(f"| `{name}` | {ENVELOPE[name]} |" for name in event.envelope())
    yield CONTEXTS


def _overview(told: Sequence[tuple[Event, CommandType | None]]) -> Iterator[str]:
    yield "## Types"
    yield ""
    yield "| type | entity | stream | caused by |"
    yield "| --- | --- | --- | --- |"
    for event, kind in told:
        anchor = event.event_type.replace(".", "")
        yield f"| [`{event.event_type}`](#{anchor}) | {event.entity_type} | {event.stream_type} | {_cause(kind)} |"
    yield ""


def _cause(kind: CommandType | None) -> str:
    if kind is None:
        return "the secret scanner, in the append itself"
    return f"`POST {kind.path}`, command `{kind.name}`"


def _section(event: Event, kind: CommandType | None) -> Iterator[str]:
    aggregate = AGGREGATES.get(event.entity_type)
    fields = kind.body.model_json_schema()["properties"] if kind else {}
    yield f"### {event.event_type}"
    yield ""
    decider = getattr(kind.decide, "__module__", "") if kind else leaks.__name__
    purpose = f"Decided in `{decider}`" + (f", folded by `{aggregate.evolve.__module__}`." if aggregate else ".")
    yield f"Version {event.event_version}. {purpose}"
    yield ""
    yield "| `data` member | type | example |"
    yield "| --- | --- | --- |"
    for name, value in event.data.items():
        kind_of = _type(fields[name]) if name in fields else _type_of(value)
        yield f"| `{name}` | {kind_of} | `{_json(value)}` |"
    yield ""
    if kind is not None:
        yield "```json"
        yield json.dumps(event.envelope(), indent=2, ensure_ascii=False)
        yield "```"
        yield ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    name = str(schema.get("type", "any"))
    if name == "array":
        return f"list of {_type(schema['items'])}"
    bounds = [f"at most {schema[key]} {unit}" for key, unit in (("maxLength", "characters"),) if key in schema]
    return name + (f", {', '.join(bounds)}" if bounds else "")


def _type_of(value: Any) -> str:
    return {str: "string", int: "integer", list: "list", bool: "boolean"}.get(type(value), "object")


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
