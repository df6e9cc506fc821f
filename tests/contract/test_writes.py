"""Writing from outside: idempotency keys, bulk, versions, and the same commands over NATS."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import nats
import orjson
import pytest
import pytest_asyncio
from nats.aio.client import Client

from tests.fixtures.stack import Stack


@pytest.fixture
def workspace() -> str:
    return f"ws_{uuid4().hex[:12]}"


@pytest.fixture
def client(stack: Stack, workspace: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": workspace}, timeout=20) as made:
        yield made


@pytest_asyncio.fixture
async def bus(stack: Stack) -> AsyncIterator[Client]:
    made = await nats.connect(stack.nats_url, inbox_prefix=b"_INBOX_integration")
    yield made
    await made.close()


def post(client: httpx.Client, path: str, body: Any, key: str | None = None) -> httpx.Response:
    return client.post(path, json=body, headers={} if key is None else {"idempotency-key": key})


@pytest.fixture
def thread(client: httpx.Client) -> str:
    room = post(client, "/v1/rooms", {"title": "Ops"}).json()["room_id"]
    return str(post(client, f"/v1/rooms/{room}/threads", {"title": "Disk"}).json()["thread_id"])


def texts(client: httpx.Client, thread: str) -> list[str]:
    room = client.get(f"/v1/threads/{thread}").json()["thread"]["room_id"]
    events = client.get("/v1/events", params={"stream_type": "room", "stream_id": room, "limit": 200})
    return [e["data"]["content_md"] for e in events.json()["events"] if e["event_type"] == "message.created"]


def test_a_write_says_where_its_event_is(client: httpx.Client) -> None:
    made = post(client, "/v1/rooms", {"title": "Ops"})
    assert made.status_code == 201
    answer = made.json()
    assert (answer["stream_type"], answer["stream_id"], answer["stream_seq"]) == ("room", answer["room_id"], 1)
    event = client.get(f"/v1/events/{answer['event_id']}").json()["event"]
    assert (event["event_type"], event["policy_context"]) == ("room.created", {})


def test_the_same_key_gets_the_first_answer_again(client: httpx.Client, thread: str) -> None:
    path = f"/v1/threads/{thread}/messages"
    first = post(client, path, {"content_md": "once", "lang": "en"}, "k1")
    again = post(client, path, {"lang": "en", "content_md": "once"}, "k1")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = post(client, path, {"content_md": "twice"}, "k1")
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    assert texts(client, thread) == ["once"]


def test_a_key_belongs_to_its_path_and_workspace(client: httpx.Client, stack: Stack) -> None:
    room = post(client, "/v1/rooms", {"title": "Ops"}, "k").json()["room_id"]
    assert post(client, f"/v1/rooms/{room}/threads", {"title": "Ops"}, "k").status_code == 201
    elsewhere = httpx.post(
        f"{stack.url}/v1/rooms", json={"title": "Ops"}, headers={"idempotency-key": "k", "x-workspace-id": "ws_other"}
    )
    assert elsewhere.status_code == 201
    assert "idempotency-replayed" not in elsewhere.headers


def test_a_refusal_is_kept_under_its_key(client: httpx.Client) -> None:
    first = post(client, "/v1/rooms/room_none/threads", {"title": "x"}, "k")
    again = post(client, "/v1/rooms/room_none/threads", {"title": "x"}, "k")
    assert (first.status_code, again.status_code, again.content) == (404, 404, first.content)
    assert again.headers["idempotency-replayed"] == "true"


async def test_one_key_sent_many_times_at_once_writes_once(stack: Stack, workspace: str, thread: str) -> None:
    async with httpx.AsyncClient(base_url=stack.url, headers={"x-workspace-id": workspace}) as client:
        sent = [
            client.post(f"/v1/threads/{thread}/messages", json={"content_md": "x"}, headers={"idempotency-key": "k"})
            for _ in range(20)
        ]
        answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


def test_an_unexpected_version_is_a_conflict(client: httpx.Client) -> None:
    refused = post(client, "/v1/rooms", {"title": "Ops", "expected_version": 3})
    assert (refused.status_code, refused.json()["error"], refused.json()["current_version"]) == (
        409,
        "version_conflict",
        0,
    )
    assert client.get("/v1/rooms").json()["rooms"] == []


def test_bulk_answers_in_order_and_lets_each_fail_alone(client: httpx.Client, thread: str) -> None:
    commands = [
        {"type": "message.create", "body": {"thread_id": thread, "content_md": "a"}},
        {"type": "message.create", "body": {"thread_id": "th_none", "content_md": "b"}},
        {"type": "message.create", "body": {"thread_id": thread, "content_md": ""}},
        {"type": "room.create", "body": {"title": "Another"}},
        {"type": "message.create", "body": {"thread_id": thread, "content_md": "c"}},
        {"type": "room.destroy"},
    ]
    results = post(client, "/v1/commands", {"commands": commands}).json()["results"]
    assert [result["status"] for result in results] == [201, 404, 400, 201, 201, 400]
    refused = [results[1]["error"], results[2]["error"], results[5]["error"]]
    assert refused == ["thread_not_found", "missing_content_md", "unknown_command"]
    assert [results[0]["stream_seq"], results[4]["stream_seq"]] == [3, 4]
    assert results[3]["stream_seq"] == 1


def test_atomic_bulk_is_all_or_nothing(client: httpx.Client, thread: str) -> None:
    good = {"type": "message.create", "body": {"thread_id": thread, "content_md": "a"}}
    bad = {"type": "message.create", "body": {"thread_id": thread, "content_md": "b", "schema_version": "9"}}
    refused = post(client, "/v1/commands", {"atomic": True, "commands": [good, bad, good]})
    assert (refused.status_code, refused.json()["error"], refused.json()["command_index"]) == (
        400,
        "invalid_schema_version",
        1,
    )
    refused = post(client, "/v1/commands", {"atomic": True, "commands": [good, {"type": "room.destroy"}]})
    assert (refused.status_code, refused.json()["error"], refused.json()["command_index"]) == (
        400,
        "unknown_command",
        1,
    )
    assert texts(client, thread) == []
    done = post(client, "/v1/commands", {"atomic": True, "commands": [good, good]}, "k")
    assert [result["stream_seq"] for result in done.json()["results"]] == [3, 4]
    assert post(client, "/v1/commands", {"atomic": True, "commands": [good, good]}, "k").content == done.content
    two_rooms = [good, {"type": "room.create", "body": {"title": "Another"}}]
    refused = post(client, "/v1/commands", {"atomic": True, "commands": two_rooms})
    assert (refused.status_code, refused.json()["error"]) == (400, "atomic_needs_one_stream")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "invalid_body"),
        ({"commands": []}, "invalid_commands"),
        ({"commands": [{"type": "room.create", "body": {"title": "x"}}] * 501}, "invalid_commands"),
        ({"commands": [{"type": 7}]}, "invalid_commands"),
        ({"commands": [{"type": "room.create", "bodies": {}}]}, "invalid_commands"),
        ({"commands": [{"type": "room.create"}], "atomic": 1}, "invalid_atomic"),
        ({"commands": [{"type": "room.create"}], "order": 1}, "unknown_field"),
    ],
)
def test_a_bad_bulk_is_refused_whole(client: httpx.Client, body: Any, code: str) -> None:
    refused = post(client, "/v1/commands", body)
    assert (refused.status_code, refused.json()["error"]) == (400, code)


def test_actor_and_correlation_come_from_body_or_headers(client: httpx.Client, thread: str) -> None:
    correlation = "01JDAGZ3K8R4W5T6Y7V8X9Z0AB"

    def event(body: dict[str, Any], **headers: str) -> dict[str, Any]:
        sent = client.post(
            f"/v1/threads/{thread}/messages",
            json={"content_md": "x", **body},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        assert sent.status_code == 201, sent.text
        found: dict[str, Any] = client.get(f"/v1/events/{sent.json()['event_id']}").json()["event"]
        return found

    said = event({"sender_type": "agent", "sender_id": "bot"})
    assert (said["actor_type"], said["actor_id"]) == ("agent", "bot")
    claimed = event({}, x_actor_type="service", x_actor_id="cron", x_correlation_id=correlation)
    assert (claimed["actor_type"], claimed["actor_id"], claimed["correlation_id"]) == ("service", "cron", correlation)
    own = event({"actor_type": "user", "actor_id": "ada", "correlation_id": "job 7"}, x_actor_id="cron")
    assert (own["actor_id"], own["correlation_id"]) == ("ada", "job 7")
    assert own["actor_principal_id"] == event({"actor_id": "ada"})["actor_principal_id"]
    assert event({}, x_correlation_id="not an id")["correlation_id"] != "not an id"


async def test_the_same_commands_run_over_nats(bus: Client, workspace: str, stack: Stack) -> None:
    async def ask(command: str, body: Any, **headers: str) -> tuple[dict[str, Any], dict[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        reply = await bus.request(f"agentos.cmd.{workspace}.{command}", raw, timeout=10, headers=named or None)
        return orjson.loads(reply.data), dict(reply.headers or {})

    room, told = await ask("room.create", {"title": "Ops"})
    assert told["status"] == "201"
    thread, _ = await ask("thread.create", {"room_id": room["room_id"], "title": "Disk"})
    first, _ = await ask(
        "message.create", {"thread_id": thread["thread_id"], "content_md": "hello"}, idempotency_key="k"
    )
    again, replayed = await ask(
        "message.create", {"thread_id": thread["thread_id"], "content_md": "hello"}, idempotency_key="k"
    )
    assert (again, replayed["idempotency-replayed"]) == (first, "true")
    assert first["stream_seq"] == 3
    for command, body, status, code in (
        ("room.create", {}, 400, "missing_title"),
        ("room.create", b'{"title":', 400, "invalid_json"),
        ("thread.create", {"title": "x"}, 400, "missing_room_id"),
        ("thread.create", {"room_id": "room_none", "title": "x"}, 404, "room_not_found"),
        ("room.destroy", {}, 404, "unknown_command"),
        ("room.create.now", {}, 404, "unknown_command"),
        ("room", {}, 404, "unknown_command"),
    ):
        refused, _ = await ask(command, body)
        assert (refused["status"], refused["error"]) == (status, code)
    for subject in ("agentos.cmd.room", "agentos.cmd.room.create"):  # without a workspace
        refused = orjson.loads((await bus.request(subject, b"{}", timeout=10)).data)
        assert (refused["status"], refused["error"]) == (404, "unknown_command")
