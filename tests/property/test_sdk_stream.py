"""The client's live streams: whatever a connection does, each event of the room is shown once and in order."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

import agentos

TIME = "2026-11-24T05:30:00.123Z"
HEAD = 12


def envelope(seq: int) -> dict[str, Any]:
    return {
        "event_id": f"e{seq}", "event_type": "message.created", "event_version": 1, "occurred_at": TIME,
        "recorded_at": TIME, "workspace_id": "w", "actor_type": "user", "actor_id": "a", "zone": "supervised",
        "stream_type": "room", "stream_id": "room_1", "stream_seq": seq, "entity_type": "message", "entity_id": "m",
        "entity_version": 1, "correlation_id": "c", "redaction_level": "none", "contains_secrets": False,
        "data": {"content_md": "\u2028"}, "event_hash": "h",
    }  # fmt: skip


def frame(seq: int) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (seq, json.dumps(envelope(seq), ensure_ascii=False).encode())


#: What a connection does wrong: which events it skips, which it repeats, where it is cut, how its bytes arrive.
Connection = tuple[list[bool], list[bool], int, int]
connections = st.tuples(
    st.lists(st.booleans(), min_size=HEAD, max_size=HEAD),
    st.lists(st.booleans(), min_size=HEAD, max_size=HEAD),
    st.integers(0, 8000),
    st.integers(1, 700),
)


def sent(after: int, connection: Connection | None) -> Iterator[bytes]:
    """The bytes of one connection, from a cursor on; None: one that does all right."""
    if connection is None:
        yield from (frame(seq) for seq in range(after + 1, HEAD + 1))
        yield b'event: caught_up\nid: %d\ndata: {"head_seq":%d}\n\n' % (HEAD, HEAD)
        return
    skipped, repeated, cut, size = connection
    raw = b":\n\n"
    for seq in range(after + 1, HEAD + 1):
        if skipped[seq - 1]:
            continue
        raw += frame(seq) * (2 if repeated[seq - 1] else 1)
        if repeated[seq - 1] and seq > 1:
            raw += frame(seq - 1)
    raw = raw[:cut]
    yield from (raw[start : start + size] for start in range(0, len(raw), size))


@settings(max_examples=150, deadline=None)
@given(st.lists(connections, max_size=8))
def test_a_room_is_shown_once_and_in_order(bad: list[Connection]) -> None:
    coming: Iterator[Connection | None] = chain(bad, iter(lambda: None, 0))

    def respond(request: httpx.Request) -> httpx.Response:
        after = int(request.headers["last-event-id"])
        return httpx.Response(200, content=sent(after, next(coming)))

    patient = agentos.Retry(patience_s=60, first_s=0.00001, longest_s=0.00001)
    with agentos.Client("http://api", transport=httpx.MockTransport(respond), retry=patient) as client:
        shown = [event.stream_seq for event in client.stream_room("room_1", follow=False)]
    assert shown == list(range(1, HEAD + 1))
