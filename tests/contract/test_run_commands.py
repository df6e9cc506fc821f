"""Runs and what is in them, from outside: commands over HTTP, in bulk and over NATS, and contents of artifacts."""

import hashlib
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

SECRET = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


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


def post(client: httpx.Client, path: str, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, json={} if body is None else body, headers=named)


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]) == (status, code), response.text


@pytest.fixture
def room(client: httpx.Client) -> str:
    return str(made(post(client, "/v1/rooms", {"title": "Ops"}))["room_id"])


@pytest.fixture
def run(client: httpx.Client, room: str) -> str:
    run_id = str(made(post(client, "/v1/runs", {"room_id": room}))["run_id"])
    made(post(client, f"/v1/runs/{run_id}/start"), 200)
    return run_id


@pytest.fixture
def step(client: httpx.Client, run: str) -> str:
    return str(made(post(client, f"/v1/runs/{run}/steps", {"kind": "work"}))["step_id"])


def events(client: httpx.Client, room: str) -> list[dict[str, Any]]:
    page = client.get("/v1/events", params={"stream_type": "room", "stream_id": room, "limit": 200})
    found: list[dict[str, Any]] = made(page, 200)["events"]
    return found


def test_what_happens_in_a_run_is_one_line_of_causation(client: httpx.Client, room: str, run: str, step: str) -> None:
    call = made(post(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"}))["tool_call_id"]
    made(post(client, f"/v1/steps/{step}/artifacts", {"kind": "note"}))
    made(post(client, f"/v1/steps/{step}/complete"), 200)
    ended = made(post(client, f"/v1/toolcalls/{call}/succeed", {"output": {"n": 1}}), 200)
    assert ended["ok"] is True
    assert (ended["stream_type"], ended["stream_id"]) == ("room", room)
    made(post(client, f"/v1/runs/{run}/complete", {"summary": "done"}), 200)
    line = [event for event in events(client, room) if event["entity_type"] in ("run", "step", "tool_call", "artifact")]
    assert [event["event_type"] for event in line] == [
        "run.created",
        "run.started",
        "step.created",
        "tool.invoked",
        "artifact.created",
        "step.completed",
        "tool.succeeded",
        "run.completed",
    ]
    assert [event["causation_id"] for event in line[1:]] == [event["event_id"] for event in line[:-1]]
    assert len({event["correlation_id"] for event in line}) == 1
    assert {event["run_id"] for event in line} == {run}


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
def test_the_outcome_of_a_tool_call_ends_its_step(client: httpx.Client, run: str, step: str, outcome: str) -> None:
    for _ in range(2):  # another call opens it again
        call = made(post(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"}))["tool_call_id"]
        made(post(client, f"/v1/toolcalls/{call}/{outcome}"), 200)
        for end in ("complete", "fail"):
            refused(post(client, f"/v1/steps/{step}/{end}"), 409, "step_already_ended")
    running = made(post(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"}))["tool_call_id"]
    made(post(client, f"/v1/steps/{step}/complete", {"output": {"by": "hand"}}), 200)
    made(post(client, f"/v1/toolcalls/{running}/{outcome}"), 200)
    refused(post(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"}), 409, "step_already_ended")
    (row,) = made(client.get(f"/v1/runs/{run}/steps"), 200)["steps"]
    assert (row["status"], row["output"]) == ("succeeded", {"by": "hand"})


def test_a_run_that_was_forgotten_goes_on_where_it_was(client: httpx.Client, stack: Stack, room: str, run: str) -> None:
    """More entities than the writer remembers of one room: what it reads again is what it knew."""
    step_id = last = ""
    for part in range(5):
        many = [{"type": "step.create", "body": {"run_id": run, "kind": f"{part}"}}] * 500
        results = made(post(client, "/v1/commands", {"commands": many}), 200)["results"]
        step_id = results[-1]["step_id"]
        last = results[-1]["event_id"]
    other = made(post(client, "/v1/runs", {"room_id": room}))["run_id"]
    made(post(client, f"/v1/runs/{other}/start"), 200)
    many = [{"type": "step.create", "body": {"run_id": other, "kind": "x"}}] * 500
    for _ in range(5):
        made(post(client, "/v1/commands", {"commands": many}), 200)
    ended = made(post(client, f"/v1/steps/{step_id}/complete"), 200)
    event = made(client.get(f"/v1/events/{ended['event_id']}"), 200)["event"]
    assert event["causation_id"] == last
    refused(post(client, f"/v1/steps/{step_id}/complete"), 409, "step_already_ended")


def test_what_lives_in_another_stream_is_read_as_it_stands(client: httpx.Client, room: str) -> None:
    """An experiment of the workspace ends between two runs of it, all in one process."""
    body = {"title": "x", "hypothesis": "y", "budget_cap_units": 1, "risk_tier": "low"}
    experiment = made(post(client, "/v1/experiments", body))["experiment_id"]
    for _ in range(3):
        made(post(client, "/v1/runs", {"room_id": room, "experiment_id": experiment}))
    made(post(client, f"/v1/experiments/{experiment}/close", {"force": True}), 200)
    refused(post(client, "/v1/runs", {"room_id": room, "experiment_id": experiment}), 409, "experiment_not_open")
    elsewhere = made(post(client, "/v1/experiments", {**body, "room_id": room}))["experiment_id"]
    other = made(post(client, "/v1/rooms", {"title": "Other"}))["room_id"]
    wrong = post(client, "/v1/runs", {"room_id": other, "experiment_id": elsewhere})
    refused(wrong, 400, "experiment_room_mismatch")


def test_refusals_come_in_their_order(client: httpx.Client, room: str, run: str, step: str) -> None:
    refused(post(client, "/v1/runs", {"thread_id": "th_none"}), 400, "missing_room_id")
    refused(post(client, "/v1/runs", {"room_id": "room_none", "thread_id": "th_none"}), 404, "room_not_found")
    refused(post(client, "/v1/runs", {"room_id": room, "thread_id": "th_none"}), 404, "thread_not_found")
    refused(post(client, "/v1/runs", {"room_id": room, "experiment_id": "exp_none"}), 404, "experiment_not_found")
    refused(post(client, f"/v1/runs/{step}/steps", {"kind": "x"}), 404, "run_not_found")
    refused(post(client, f"/v1/runs/{run}/steps", {"title": "x"}), 400, "missing_kind")
    refused(post(client, f"/v1/steps/{step}/toolcalls", {"title": "x"}), 400, "missing_tool_name")
    refused(post(client, f"/v1/runs/{run}/start"), 409, "run_not_queued")
    made(post(client, f"/v1/runs/{run}/cancel", {"reason": "enough"}), 200)
    refused(post(client, f"/v1/steps/{step}/toolcalls", {"title": "x"}), 409, "run_not_running")
    for verb in ("complete", "fail", "cancel"):
        refused(post(client, f"/v1/runs/{run}/{verb}"), 409, "run_already_ended")


@pytest.mark.parametrize(
    "members",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"priority": 101},
        {"timeout_s": 0},
        {"zone": "x"},
        {"tags": ["x" * 201]},
    ],
)
def test_limits_of_a_run(client: httpx.Client, room: str, members: dict[str, Any]) -> None:
    refused(post(client, "/v1/runs", {"room_id": room, **members}), 400, f"invalid_{next(iter(members))}")


def test_a_stale_claim_token_is_refused_from_body_and_header(client: httpx.Client, run: str, step: str) -> None:
    path = f"/v1/steps/{step}/toolcalls"
    refused(post(client, path, {"tool_name": "x", "claim_token": "gone"}), 409, "lease_token_mismatch")
    refused(post(client, path, {"tool_name": "x"}, x_claim_token="gone"), 409, "lease_token_mismatch")
    made(post(client, path, {"tool_name": "x", "claim_token": "gone", "force": True}))


def test_what_a_caller_claims_to_be_allowed_is_kept_without_secrets(client: httpx.Client, step: str) -> None:
    body = {"tool_name": "x", "principal_id": SECRET}
    answer = made(post(client, f"/v1/steps/{step}/toolcalls", body))
    told = made(client.get(f"/v1/events/{answer['event_id']}"), 200)["event"]
    assert told["event_type"] == "secret.leaked.detected"
    event = made(client.get(f"/v1/events/{told['causation_id']}"), 200)["event"]
    context = event["policy_context"]
    assert (context["principal_id"], context["reason_code"]) == ("[redacted]", "default_allow")


def test_internal_commands_are_nobodys(client: httpx.Client, run: str) -> None:
    expire = {"type": "run.expire", "body": {"run_id": run, "claim_token": "x"}}
    results = made(post(client, "/v1/commands", {"commands": [expire]}), 200)["results"]
    assert (results[0]["status"], results[0]["error"]) == (400, "unknown_command")
    refused(post(client, f"/v1/runs/{run}/expire"), 404, "not_found")


async def test_a_whole_run_over_nats(bus: Client, workspace: str, room: str) -> None:
    async def ask(command: str, **body: Any) -> dict[str, Any]:
        reply = await bus.request(f"agentos.cmd.{workspace}.{command}", orjson.dumps(body), timeout=10)
        answer: dict[str, Any] = orjson.loads(reply.data)
        return answer

    run = await ask("run.create", room_id=room)
    assert (await ask("run.start", run_id=run["run_id"]))["ok"] is True
    step = await ask("step.create", run_id=run["run_id"], kind="x")
    call = await ask("tool.invoke", step_id=step["step_id"], tool_name="echo")
    assert (await ask("tool.fail", tool_call_id=call["tool_call_id"], message="no"))["ok"] is True
    assert (await ask("run.fail", run_id=run["run_id"], message="no"))["ok"] is True
    assert (await ask("run.expire", run_id=run["run_id"]))["error"] == "unknown_command"
    assert (await ask("run.start", run_id="run_none"))["error"] == "run_not_found"


def keep(client: httpx.Client, step: str, **members: Any) -> dict[str, Any]:
    answer = made(post(client, f"/v1/steps/{step}/artifacts", {"kind": "note", **members}))
    event: dict[str, Any] = made(client.get(f"/v1/events/{answer['event_id']}"), 200)["event"]
    if event["event_type"] != "artifact.created":  # the last ones tell of a secret
        event = made(client.get(f"/v1/events/{event['causation_id']}"), 200)["event"]
    return event


@pytest.mark.parametrize("size", [10, 256 * 1024, 256 * 1024 + 1, 900 * 1024])
def test_a_content_is_served_byte_for_byte_wherever_it_is(client: httpx.Client, step: str, size: int) -> None:
    text = ("\u00e9" * (size // 2)) + "x" * (size % 2)
    raw = text.encode()
    digest = hashlib.sha256(raw).hexdigest()
    event = keep(client, step, content={"type": "text", "text": text}, sha256=digest, size_bytes=size)
    data = event["data"]
    assert (data["sha256"], data["size_bytes"], data["content"]["type"]) == (digest, size, "text")
    assert ("text" in data["content"]) == (size <= 256 * 1024)
    served = client.get(f"/v1/artifacts/{data['artifact_id']}/content")
    assert (served.status_code, served.content) == (200, raw)
    assert served.headers["content-type"] == "text/plain; charset=utf-8"
    assert served.headers["etag"] == f'"{digest}"'
    assert served.headers["content-disposition"] == "attachment"


def test_a_large_json_value_is_kept_canonically(client: httpx.Client, step: str) -> None:
    value = {"b": list(range(60_000)), "a": None}
    data = keep(client, step, content={"type": "json", "json": value})["data"]
    assert data["content"] == {
        "type": "json",
        "blob": True,
        "sha256": data["sha256"],
        "size_bytes": data["size_bytes"],
    }
    served = client.get(f"/v1/artifacts/{data['artifact_id']}/content")
    assert served.json() == value
    assert served.content.startswith(b'{"a":null,"b":[0,')


@pytest.mark.parametrize("size", [100, 300 * 1024])
def test_no_secret_is_kept_in_a_content(client: httpx.Client, room: str, step: str, size: int) -> None:
    text = f"the key is {SECRET} " + "x" * size
    event = keep(client, step, content={"type": "text", "text": text})
    assert (event["redaction_level"], event["contains_secrets"]) == ("partial", True)
    served = client.get(f"/v1/artifacts/{event['entity_id']}/content")
    assert served.text == text.replace(SECRET, "[redacted]")
    assert hashlib.sha256(served.content).hexdigest() == event["data"]["sha256"]
    told = [found["event_type"] for found in events(client, room)][-3:]
    assert told == ["artifact.created", "event.redacted", "secret.leaked.detected"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"content": {"type": "hologram", "text": "x"}}, "invalid_content_type"),
        ({"content": {"type": "text", "json": {}}}, "invalid_content_type"),
        ({"content": {"type": "text"}}, "missing_content"),
        ({"content": {"type": "text", "text": "x"}, "sha256": "0" * 64}, "sha256_mismatch"),
        ({"content": {"type": "text", "text": "x"}, "size_bytes": 2}, "size_bytes_mismatch"),
        ({"sha256": "abc"}, "invalid_sha256"),
        ({"size_bytes": -1}, "invalid_size_bytes"),
        ({"schema_version": "9"}, "invalid_schema_version"),
        ({"mime_type": "text/html\r\nx: y"}, "invalid_mime_type"),
    ],
)
def test_bad_artifacts_are_refused(client: httpx.Client, step: str, members: dict[str, Any], code: str) -> None:
    refused(post(client, f"/v1/steps/{step}/artifacts", {"kind": "k", **members}), 400, code)


def test_an_artifact_over_the_limit_is_refused(client: httpx.Client, step: str) -> None:
    body = {"kind": "k", "content": {"type": "text", "text": "x" * (1024 * 1024)}}
    too_large = post(client, f"/v1/steps/{step}/artifacts", body)
    refused(too_large, 413, "body_too_large")
    assert "uri" in too_large.json()["detail"]
    for uri in ("reports/1.pdf", "javascript:alert(1)", "data:text/html,<script>x</script>"):
        content = {"type": "uri", "uri": uri}
        refused(post(client, f"/v1/steps/{step}/artifacts", {"kind": "k", "content": content}), 400, "invalid_content")


def test_what_has_no_content_says_so(client: httpx.Client, stack: Stack, step: str) -> None:
    elsewhere = keep(client, step, content={"type": "uri", "uri": "file:///x"})["entity_id"]
    refused(client.get(f"/v1/artifacts/{elsewhere}/content"), 404, "content_not_found")
    refused(client.get("/v1/artifacts/art_none/content"), 404, "artifact_not_found")
    refused(client.get(f"/v1/artifacts/{step}/content"), 404, "artifact_not_found")
    text = keep(client, step, content={"type": "text", "text": "x"})["entity_id"]
    other = httpx.get(f"{stack.url}/v1/artifacts/{text}/content", headers={"x-workspace-id": "ws_other"})
    refused(other, 404, "artifact_not_found")
