"""The Python client without a server: what it sends, when it tries again, and what it makes of answers."""

import json
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import httpx
import pytest

import agentos
from agentos import errors
from agentos.cursor import CaughtUp, Cursor
from agentos.frames import Frame, Parser
from agentos.models import Event

SDK = Path(__file__).parents[2] / "libs" / "sdk"
NO_PAUSE = agentos.Retry(patience_s=5, first_s=0.0001, longest_s=0.001)
Respond = Callable[[httpx.Request], httpx.Response]


def answering(*responses: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A server that gives these answers in turn, and what it was asked."""
    asked: list[httpx.Request] = []
    waiting = list(responses)

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        found = waiting.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(respond), asked


def client(transport: httpx.MockTransport, **options: Any) -> agentos.Client:
    return agentos.Client("http://api", transport=transport, retry=NO_PAUSE, **options)


def problem(status: int, code: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": code, "detail": f"It is {code}.", "status": status, **more})


CREATED = {
    "room_id": "room_1",
    "event_id": "e",
    "stream_type": "room",
    "stream_id": "room_1",
    "stream_seq": 3,
    "new": 1,
}


def test_the_blocking_client_is_what_the_asynchronous_one_makes() -> None:
    made = run_path(str(SDK / "generate_sync.py"))["texts"]()
    kept = {path.name: path.read_text(encoding="utf-8") for path in (SDK / "agentos" / "sync").glob("*.py")}
    assert kept == made, "run `make docs`"


def test_a_write_is_sent_once_with_a_key_and_read_as_a_model() -> None:
    transport, asked = answering(httpx.Response(201, json=CREATED))
    with client(transport, workspace_id="ws_1", token="secret", actor=("agent", "a1")) as api:
        made = api.rooms.create("Ops", topic="night")
    assert (made.room_id, made.position) == ("room_1", "room/room_1@3")
    (request,) = asked
    assert json.loads(request.content) == {"title": "Ops", "topic": "night"}
    assert request.headers["idempotency-key"]
    assert request.headers["x-workspace-id"] == "ws_1"
    assert request.headers["authorization"] == "Bearer secret"
    assert (request.headers["x-actor-type"], request.headers["x-actor-id"]) == ("agent", "a1")


def test_a_write_is_repeated_with_the_same_key_until_it_is_answered() -> None:
    transport, asked = answering(
        httpx.ConnectError("refused"),
        httpx.ReadError("cut"),
        problem(503, "append_queue_full"),
        problem(429, "too_many"),
        problem(409, "idempotency_key_in_flight"),
        httpx.Response(201, json=CREATED),
    )
    with client(transport) as api:
        assert api.rooms.create("Ops").room_id == "room_1"
    assert len(asked) == 6
    assert len({request.headers["idempotency-key"] for request in asked}) == 1


def test_every_write_has_a_key_of_its_own() -> None:
    transport, asked = answering(*(httpx.Response(201, json=CREATED) for _ in range(3)))
    with client(transport) as api:
        for _ in range(2):
            api.rooms.create("Ops")
        api.rooms.create("Ops", idempotency_key="mine")
    keys = [request.headers["idempotency-key"] for request in asked]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "missing_title", errors.BadRequest),
        (413, "event_too_large", errors.BadRequest),
        (422, "idempotency_key_reused", errors.BadRequest),
        (401, "missing_bearer_token", errors.AccessDenied),
        (403, "engine_inactive", errors.AccessDenied),
        (404, "room_not_found", errors.NotFound),
        (409, "lease_token_mismatch", errors.Conflict),
        (500, "internal", errors.Unavailable),
    ],
)
def test_a_problem_becomes_the_exception_of_its_status(status: int, code: str, kind: type[errors.APIError]) -> None:
    transport, asked = answering(problem(status, code, current_version=4))
    with client(transport) as api, pytest.raises(kind) as refused:
        api.rooms.get("room_1")
    assert len(asked) == 1
    assert (refused.value.status, refused.value.code, refused.value.detail) == (status, code, f"It is {code}.")
    assert refused.value.problem["current_version"] == 4
    assert refused.value.next_step


def test_what_is_no_problem_document_is_an_error_all_the_same() -> None:
    transport, _ = answering(httpx.Response(404, text="<html>nginx</html>"))
    with client(transport) as api, pytest.raises(agentos.NotFound) as refused:
        api.rooms.get("room_1")
    assert refused.value.code == "http_404"


def test_patience_ends_with_the_last_failure() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    api = agentos.Client(
        "http://api", transport=httpx.MockTransport(away), retry=agentos.Retry(patience_s=0.01, first_s=0.001)
    )
    with api, pytest.raises(agentos.Unreachable, match="http://api does not answer"):
        api.rooms.get("room_1")


def test_pauses_double_to_a_bound_and_end_with_the_patience() -> None:
    now = 0.0
    pauses = agentos.Retry(patience_s=10, first_s=1, longest_s=3).pauses(lambda: now, lambda: 0.5)
    assert [pauses.next_s() for _ in range(4)] == [1, 2, 3, 3]
    assert pauses.next_s(retry_after_s=6) == 9
    now = 8.0
    assert pauses.next_s() is None


def test_lists_go_on_page_by_page() -> None:
    def row(number: int) -> dict[str, Any]:
        time = "2026-11-24T05:30:00.123Z"
        return {
            "run_id": f"run_{number}", "workspace_id": "w", "status": "queued", "created_at": time, "updated_at": time,
            "correlation_id": "c",
        }  # fmt: skip

    transport, asked = answering(
        httpx.Response(200, json={"runs": [row(1), row(2)], "next_cursor": "more"}),
        httpx.Response(200, json={"runs": [row(3)], "next_cursor": None}),
    )
    with client(transport) as api:
        assert [run.run_id for run in api.runs.list(status="queued", limit=2)] == ["run_1", "run_2", "run_3"]
    assert [dict(request.url.params) for request in asked] == [
        {"status": "queued", "limit": "2"},
        {"status": "queued", "limit": "2", "cursor": "more"},
    ]


def test_a_refused_tool_call_is_an_exception() -> None:
    refusal = {"decision": "deny", "reason_code": "tool_not_allowed", "reason": "no"}
    transport, _ = answering(httpx.Response(200, json=refusal))
    with client(transport) as api, pytest.raises(agentos.ToolRefused) as refused:
        api.tool_calls.invoke("step_1", "rm")
    assert (refused.value.decision, refused.value.reason_code) == ("deny", "tool_not_allowed")


# -- live streams ------------------------------------------------------------------------------------------------------


def envelope(seq: int) -> dict[str, Any]:
    time = "2026-11-24T05:30:00.123Z"
    return {
        "event_id": f"e{seq}", "event_type": "message.created", "event_version": 1, "occurred_at": time,
        "recorded_at": time, "workspace_id": "w", "actor_type": "user", "actor_id": "a", "zone": "supervised",
        "stream_type": "room", "stream_id": "room_1", "stream_seq": seq, "entity_type": "message", "entity_id": "m",
        "entity_version": 1, "correlation_id": "c", "redaction_level": "none", "contains_secrets": False,
        "data": {"content_md": "\u2028 data: x"}, "event_hash": "h",
    }  # fmt: skip


def frame(seq: int) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (seq, json.dumps(envelope(seq), ensure_ascii=False).encode())


def named(name: str, seq: int) -> bytes:
    return b'event: %b\nid: %d\ndata: {"head_seq":%d}\n\n' % (name.encode(), seq, seq)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_frames_come_whole_however_they_are_cut(size: int) -> None:
    raw = b"retry: 2000\n\n:\n\n" + frame(1) + named("caught_up", 1) + frame(2)[:-1]
    parser = Parser()
    found = [frame for start in range(0, len(raw), size) for frame in parser.feed(raw[start : start + size])]
    assert [(one.name, one.id) for one in found] == [("message", "1"), ("caught_up", "1")]
    assert json.loads(found[0].data) == envelope(1)


def shown(items: list[Event | CaughtUp | None]) -> list[int | str]:
    return ["caught up" if isinstance(item, CaughtUp) else item.stream_seq for item in items if item is not None]


def take(cursor: Cursor, raw: bytes) -> list[int | str]:
    return shown([cursor.take(frame) for frame in Parser().feed(raw)])


def test_a_cursor_shows_each_event_once_and_notices_a_gap() -> None:
    cursor = Cursor(0)
    assert take(cursor, frame(1) + frame(2) + frame(2) + frame(1)) == [1, 2]
    assert take(cursor, frame(4) + frame(5)) == []
    assert cursor.gap
    assert cursor.headers == {"last-event-id": "2"}
    assert take(cursor, frame(3) + frame(4) + named("caught_up", 4)) == [3, 4, "caught up"]


def test_a_cursor_that_tails_starts_at_the_head() -> None:
    cursor = Cursor("latest")
    assert (cursor.query, cursor.headers) == ({"from_seq": "latest"}, {})
    assert take(cursor, named("caught_up", 7) + frame(8)) == ["caught up", 8]
    assert cursor.headers == {"last-event-id": "8"}


def test_a_cursor_beyond_the_end_goes_back_to_it() -> None:
    cursor = Cursor(90)
    assert take(cursor, named("reset", 3) + frame(4)) == [4]
    assert cursor.take(Frame("gone", None, b"{}")) is None


def test_a_stream_goes_on_over_reconnects_without_loss_or_repetition() -> None:
    def stream(raw: bytes) -> httpx.Response:
        return httpx.Response(200, content=raw, headers={"content-type": "text/event-stream"})

    transport, asked = answering(
        stream(frame(1) + frame(2)[:20]),
        httpx.ConnectError("refused"),
        problem(503, "draining"),
        stream(frame(2) + frame(4)),
        stream(frame(3) + frame(4) + named("caught_up", 4)),
    )
    with client(transport) as api:
        assert [event.stream_seq for event in api.stream_room("room_1", follow=False)] == [1, 2, 3, 4]
    cursors = [request.headers.get("last-event-id") for request in asked]
    assert cursors == ["0", "1", "1", "1", "2"]


def test_a_stream_of_an_unknown_room_is_refused() -> None:
    transport, _ = answering(problem(404, "room_not_found"))
    with client(transport) as api, pytest.raises(agentos.NotFound):
        next(api.stream_room("room_none"))
