"""Verification over HTTP: the reference's shape, numeric order, and only the caller's own streams."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import Stack

PATH = "/v1/audit/hash-chain/verify"
MEMBERS = {"stream_type", "stream_id", "checked", "valid", "first_mismatch", "last_event_hash", "redacted", "head_seq"}

_workspaces = itertools.count(1)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_audit_{next(_workspaces)}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


@pytest.fixture
def room(client: httpx.Client) -> str:
    """A room of 25 events: past ten, where an order by text goes wrong."""
    made: str = client.post("/v1/rooms", json={"title": "Audited"}).raise_for_status().json()["room_id"]
    thread = client.post(f"/v1/rooms/{made}/threads", json={"title": "T"}).raise_for_status().json()["thread_id"]
    texts = ["plain", "ünïcode 🚀", "a\nb\t\u2028\x7f", "7" * 3000, *(f"m{number}" for number in range(19))]
    for text in texts:
        client.post(f"/v1/threads/{thread}/messages", json={"content_md": text}).raise_for_status()
    return made


def verified(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == MEMBERS
    return body


def test_a_room_verifies(client: httpx.Client, room: str) -> None:
    found = verified(client, stream_type="room", stream_id=room)
    events = client.get("/v1/events", params={"stream_type": "room", "stream_id": room}).json()["events"]
    assert (found["stream_type"], found["stream_id"]) == ("room", room)
    assert (found["valid"], found["checked"], found["head_seq"], found["first_mismatch"]) == (True, 25, 25, None)
    assert found["last_event_hash"] == events[-1]["event_hash"]


def test_a_secret_that_was_replaced_verifies(client: httpx.Client, room: str) -> None:
    thread = client.post(f"/v1/rooms/{room}/threads", json={"title": "S"}).raise_for_status().json()["thread_id"]
    secret = "key sk-" + "a1" * 12
    client.post(f"/v1/threads/{thread}/messages", json={"content_md": secret}).raise_for_status()
    found = verified(client, stream_type="room", stream_id=room)
    assert found["valid"], found
    assert found["checked"] == 29, "thread, message, event.redacted, secret.leaked.detected"
    events = client.get("/v1/events", params={"room_id": room, "from_seq": 25}).json()["events"]
    assert [event["redaction_level"] for event in events] == ["none", "partial", "none", "none"]


def test_in_parts(client: httpx.Client, room: str) -> None:
    part = verified(client, stream_type="room", stream_id=room, limit=10)
    assert (part["checked"], part["valid"], part["head_seq"]) == (10, True, 25)
    part = verified(client, stream_type="room", stream_id=room, limit=100, from_seq=10)
    assert (part["checked"], part["valid"]) == (15, True)
    part = verified(client, stream_type="room", stream_id=room, from_seq=1000)
    assert (part["checked"], part["valid"]) == (0, True)


def test_the_default_is_the_workspace_stream(client: httpx.Client) -> None:
    workspace_id = client.headers["x-workspace-id"]
    found = verified(client)
    assert (found["stream_type"], found["stream_id"], found["checked"], found["valid"]) == (
        "workspace",
        workspace_id,
        0,
        True,
    )
    assert found["last_event_hash"] is None


def test_what_is_not_the_callers_is_unknown(client: httpx.Client, room: str) -> None:
    headers = {"x-workspace-id": "ws_audit_stranger"}
    for query in (
        {"stream_type": "room", "stream_id": room},
        {"stream_type": "room", "stream_id": "room_none"},
        {"stream_type": "thread", "stream_id": "th_1"},
        {"stream_type": "room", "stream_id": "a\x00b"},
        {"stream_type": "workspace", "stream_id": client.headers["x-workspace-id"]},
    ):
        body = client.get(PATH, params=query, headers=headers).raise_for_status().json()
        assert (body["checked"], body["valid"], body["first_mismatch"], body["head_seq"]) == (0, True, None, None)


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "ten", "1.5", "", " 1", "1e3", "9" * 30])
def test_a_limit_out_of_range_is_refused(client: httpx.Client, limit: str) -> None:
    answer = client.get(PATH, params={"limit": limit})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "invalid_limit"


@pytest.mark.parametrize("from_seq", ["-1", "x", "1.5", "9" * 30])
def test_a_bad_from_seq_is_refused(client: httpx.Client, from_seq: str) -> None:
    answer = client.get(PATH, params={"from_seq": from_seq})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "invalid_from_seq"


def test_redactions_tell_what_was_found_where(client: httpx.Client) -> None:
    room = client.post("/v1/rooms", json={"title": "Leaky"}).raise_for_status().json()["room_id"]
    thread = client.post(f"/v1/rooms/{room}/threads", json={"title": "T"}).raise_for_status().json()["thread_id"]
    text = "keys ghp_a1B2c3D4e5F6g7H8i9J0 and AKIAIOSFODNN7EXAMPLE"
    said = client.post(f"/v1/threads/{thread}/messages", json={"content_md": text}).raise_for_status().json()
    stream = client.get("/v1/events", params={"stream_type": "room", "stream_id": room}).json()["events"]
    (source,) = (event["event_id"] for event in stream if event["event_type"] == "message.created")
    assert said["stream_seq"] == 5, "the last event of the write: what was found"

    def redactions(**query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            client.get("/v1/audit/redactions", params=query).raise_for_status().json()["redactions"]
        )
        return rows

    rows = redactions()
    assert {row["rule_id"] for row in rows} == {"github_pat", "aws_access_key_id"}
    assert {row["event_id"] for row in rows} == {source}
    assert not any("a1B2c3D4" in str(row) for row in rows)
    assert [row["rule_id"] for row in redactions(rule_id="github_pat")] == ["github_pat"]
    assert redactions(event_id="another") == redactions(action="shadow_flagged") == redactions(stream_id="a\x00b") == []
    first = client.get("/v1/audit/redactions", params={"limit": "1"}).json()
    second = client.get("/v1/audit/redactions", params={"limit": "1", "cursor": first["next_cursor"]}).json()
    assert [*first["redactions"], *second["redactions"]] == rows
    assert second["next_cursor"] is None
    for query, code in ({"action": "x"}, "invalid_action"), ({"stream_type": "thread"}, "invalid_stream_type"):
        refused = client.get("/v1/audit/redactions", params=query)
        assert (refused.status_code, refused.json()["error"]) == (400, code)


def test_the_bus_is_documented(client: httpx.Client) -> None:
    document = client.get("/asyncapi.json").raise_for_status().json()
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["message.create"]["address"] == "agentos.cmd.{workspace_id}.message.create"
    refs = {ref for ref in str(document).split("'") if ref.startswith("#/components/schemas/")}
    assert {ref.rpartition("/")[2] for ref in refs} <= document["components"]["schemas"].keys()
