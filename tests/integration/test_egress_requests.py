"""Requests to the world outside: decided, sent once, and accounted for."""

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import orjson
import pytest

from agentos_runtime import nats as nats_runtime
from agentos_runtime.datadir import DataDir
from agentos_shared.bus.connection import connect
from agentos_shared.contracts import subjects
from tests.fixtures.outside import Outside, outside
from tests.fixtures.stack import Stack, wait_until


@pytest.fixture(scope="module")
def world() -> Iterator[Outside]:
    with outside() as found:
        yield found


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as made:
        yield made


def ask(client: httpx.Client, url: str, status: int = 201, key: str | None = None, **body: Any) -> dict[str, Any]:
    headers = {} if key is None else {"idempotency-key": key}
    answer = client.post("/v1/egress/requests", json={"target_url": url, **body}, headers=headers)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def open_up(client: httpx.Client, world: Outside, *methods: str) -> None:
    """A rule that allows methods there."""
    body = {"host": "127.0.0.1", "port": world.port, "private": True, "methods": list(methods or ("GET",))}
    assert client.post("/v1/egress/rules", json=body).status_code == 201


def ask_first(client: httpx.Client, world: Outside, *methods: str) -> None:
    """A rule that asks for an approval of methods that another one would allow there."""
    open_up(client, world, *methods)
    body = {"host": "127.0.0.1", "path": "/**", "effect": "require_approval", "methods": list(methods)}
    assert client.post("/v1/egress/rules", json=body).status_code == 201


def types_of(client: httpx.Client, request_id: str) -> list[str]:
    events = client.get("/v1/events", params={"limit": 200}).json()["events"]
    return [event["event_type"] for event in events if event["data"].get("egress_request_id") == request_id]


def decide(client: httpx.Client, approval_id: str, decision: str = "approve") -> None:
    answer = client.post(f"/v1/approvals/{approval_id}/decide", json={"decision": decision})
    assert answer.status_code == 200, answer.text


def test_a_listed_host_may_be_read(client: httpx.Client, world: Outside) -> None:
    open_up(client, world)
    told = ask(client, world.url("/listed"))
    assert (told["decision"], told["reason_code"]) == ("allow", "egress.rule_allows")
    outcome = told["outcome"]
    assert (outcome["result"], outcome["status"]) == ("succeeded", 200)
    assert outcome["content"] == {"type": "text", "text": "seen "}
    assert ["set-cookie", "[withheld]"] in outcome["headers"]
    request_id = told["egress_request_id"]
    names = ["requested", "allowed", "sent", "succeeded"]
    assert types_of(client, request_id) == [f"egress.{name}" for name in names]
    seen = client.get(f"/v1/egress/requests/{request_id}").json()["request"]
    assert (seen["status"], seen["attempts"], seen["policy_decision"]) == ("succeeded", 1, "allow")
    assert seen["content"] == outcome["content"]
    listed = client.get("/v1/egress/requests").json()["requests"]
    assert [one["egress_request_id"] for one in listed] == [request_id]
    assert client.get(f"/v1/egress/requests/{request_id}/content").content == b"seen "
    assert world.of("/listed") == 1


def test_what_nobody_listed_needs_an_approval_of_exactly_this(client: httpx.Client, world: Outside) -> None:
    ask_first(client, world, "POST")
    body: dict[str, Any] = {"method": "POST", "body": "17 apples"}
    told = ask(client, world.url("/orders"), **body)
    assert (told["decision"], told["outcome"]) == ("require_approval", None)
    approval = client.get(f"/v1/approvals/{told['approval_id']}").json()["approval"]
    assert approval["action_digest"] == told["action_digest"]
    assert approval["request"]["method"] == "POST"
    again = ask(client, world.url("/orders"), **body)
    assert again["approval_id"] == told["approval_id"]  # it is asked for already
    assert world.of("/orders") == 0
    decide(client, told["approval_id"])
    other = ask(client, world.url("/orders"), method="POST", body="18 apples")
    assert other["decision"] == "require_approval"
    sent = ask(client, world.url("/orders"), **body)
    assert (sent["decision"], sent["reason_code"]) == ("allow", "approval_allows_action")
    assert sent["outcome"]["content"]["text"] == "seen 17 apples"
    assert ask(client, world.url("/orders"), **body)["decision"] == "require_approval"  # it was for one use
    assert world.hits.count(("POST", "/orders", b"17 apples")) == 1


def test_a_request_waits_for_its_approval(client: httpx.Client, world: Outside) -> None:
    ask_first(client, world, "PUT")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, client, world.url("/waiting"), method="PUT", body="x", wait_s=30)

        def pending() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get("/v1/approvals", params={"status": "pending"}).json()["approvals"]
            return found

        wait_until(lambda: bool(pending()), 10)
        decide(client, pending()[0]["approval_id"])
        told = asking.result(30)
    assert (told["decision"], told["outcome"]["result"]) == ("allow", "succeeded")
    assert types_of(client, told["egress_request_id"])[-4:] == [
        "egress.blocked",
        "egress.allowed",
        "egress.sent",
        "egress.succeeded",
    ]


def test_a_denied_request_is_not_sent(client: httpx.Client, world: Outside) -> None:
    told = ask(client, world.url("/denied"), key="once")
    decide(client, told["approval_id"], "deny")
    again = ask(client, world.url("/denied"), key="once")
    assert (again["decision"], again["reason_code"]) == ("deny", "approval_denied")
    assert world.of("/denied") == 0


def test_the_same_key_sends_once(client: httpx.Client, world: Outside) -> None:
    open_up(client, world, "POST")
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask, client, world.url("/keyed"), key="k", method="POST", body="1") for _ in range(5)]
        told = [one.result(30) for one in asking]
    assert len({one["egress_request_id"] for one in told}) == 1
    assert {one["outcome"]["result"] for one in told} == {"succeeded"}
    assert world.of("/keyed") == 1
    ask(client, world.url("/keyed"), 422, key="k", method="POST", body="2")


def test_a_kill_switch_between_decision_and_send(client: httpx.Client, world: Outside) -> None:
    ask_first(client, world, "GET")
    told = ask(client, world.url("/switched"), key="s")
    decide(client, told["approval_id"])
    body = {"action": "engage", "scope": "external_write", "reason": "stop"}
    assert client.post("/v1/policy/kill-switch", json=body).status_code in (200, 201)
    stopped = ask(client, world.url("/switched"), key="s")
    assert (stopped["decision"], stopped["reason_code"]) == ("deny", "kill_switch_active")
    assert stopped["outcome"] is None
    assert world.of("/switched") == 0
    assert client.get(f"/v1/approvals/{told['approval_id']}").json()["approval"]["status"] == "approved"


def test_a_kill_switch_cuts_what_is_on_its_way(client: httpx.Client, world: Outside) -> None:
    open_up(client, world)
    world.released.clear()
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, client, world.url("/held/cut"), limits={"timeout_s": 60.0})
        wait_until(lambda: world.of("/held/cut") == 1, 10)
        body = {"action": "engage", "scope": "egress_host", "target": "127.0.0.1", "reason": "stop"}
        assert client.post("/v1/policy/kill-switch", json=body).status_code in (200, 201)
        told = asking.result(20)
    world.released.set()
    assert (told["outcome"]["result"], told["outcome"]["error_code"]) == ("outcome_unknown", "cut")


def test_private_addresses_are_closed_unless_opened(client: httpx.Client, world: Outside) -> None:
    rule = {"host": "127.0.0.1", "port": world.port}
    assert client.post("/v1/egress/rules", json=rule).status_code == 201
    told = ask(client, world.url("/closed"))
    assert (told["decision"], told["reason_code"], told["outcome"]) == ("deny", "egress.ip_denied", None)
    assert types_of(client, told["egress_request_id"])[-1] == "egress.blocked"
    assert world.of("/closed") == 0


def test_a_failure_before_the_first_byte_is_certain(client: httpx.Client, world: Outside) -> None:
    with outside() as gone:
        pass
    body = {"host": "127.0.0.1", "port": gone.port, "private": True}
    assert client.post("/v1/egress/rules", json=body).status_code == 201
    told = ask(client, gone.url("/nobody"))
    outcome = told["outcome"]
    assert (told["decision"], outcome["result"], outcome["phase"]) == ("allow", "failed", "connect")
    assert types_of(client, told["egress_request_id"]) == ["egress.requested", "egress.allowed", "egress.failed"]


def test_an_answer_that_does_not_come_leaves_the_outcome_unknown(client: httpx.Client, world: Outside) -> None:
    open_up(client, world, "POST")
    world.released.clear()
    told = ask(client, world.url("/held"), key="slow", method="POST", limits={"timeout_s": 0.3})
    assert told["outcome"]["result"] == "outcome_unknown"
    refused = ask(client, world.url("/held"), 409, key="slow", method="POST", limits={"timeout_s": 0.3})
    assert refused["error"] == "egress_outcome_unknown"
    assert world.of("/held") == 1
    path = f"/v1/egress/requests/{told['egress_request_id']}/reconcile"
    body = {"outcome": "succeeded", "note": "it is in their log"}
    by_agent = client.post(path, json={**body, "actor_type": "service", "actor_id": "x"})
    assert by_agent.status_code == 403
    assert client.post(path, json=body).status_code == 200
    assert client.post(path, json=body).status_code == 409
    seen = client.get(f"/v1/egress/requests/{told['egress_request_id']}").json()["request"]
    assert (seen["status"], seen["outcome"]["note"]) == ("succeeded", "it is in their log")


def test_what_does_no_harm_twice_may_be_sent_again(client: httpx.Client, world: Outside) -> None:
    open_up(client, world)
    world.released.clear()
    told = ask(client, world.url("/held/again"), key="g", limits={"timeout_s": 0.3})
    assert told["outcome"]["result"] == "outcome_unknown"
    world.released.set()
    again = ask(client, world.url("/held/again"), key="g", limits={"timeout_s": 0.3})
    assert (again["outcome"]["result"], again["egress_request_id"]) == ("succeeded", told["egress_request_id"])
    seen = client.get(f"/v1/egress/requests/{told['egress_request_id']}").json()["request"]
    assert (seen["status"], seen["attempts"]) == ("succeeded", 2)


def test_a_large_answer_is_kept_beside_and_a_larger_one_is_cut(client: httpx.Client, world: Outside) -> None:
    open_up(client, world)
    told = ask(client, world.url("/big/200000"))
    content = told["outcome"]["content"]
    assert (content["type"], content["size_bytes"]) == ("blob", 200_000)
    kept = client.get(f"/v1/egress/requests/{told['egress_request_id']}/content")
    assert kept.content == b"x" * 200_000
    cut = ask(client, world.url("/big/200000"), limits={"max_response_bytes": 10})
    assert (cut["outcome"]["truncated"], cut["outcome"]["content"]) == (True, {"type": "text", "text": "x" * 10})


def test_bodies_of_bytes_and_bad_ones(client: httpx.Client, world: Outside) -> None:
    open_up(client, world, "POST")
    raw = bytes(range(256))
    ask(client, world.url("/bytes"), body_base64=base64.b64encode(raw).decode())
    assert ("POST", "/bytes", raw) in world.hits
    for bad in ("http://a@b/", "ftp://example.org/", "http://0x7f.1/", "", "http://[::1"):
        assert ask(client, bad, 400)["error"] == "invalid_target_url"
    assert ask(client, world.url(), 400, headers={"a": "b\r\nc: d"})["error"] == "invalid_header"
    assert ask(client, world.url(), 400, headers={"Host": "elsewhere"})["error"] == "invalid_header"
    assert ask(client, world.url(), 400, body="a", body_base64="YQ==")["error"] == "invalid_request_body"
    assert client.get("/v1/egress/requests/egr_none").status_code == 404


async def test_a_question_that_is_delivered_again_sends_nothing_again(
    stack: Stack, client: httpx.Client, world: Outside
) -> None:
    ask_first(client, world, "POST")
    told = ask(client, world.url("/redelivered"), method="POST")
    decide(client, told["approval_id"])
    question = orjson.dumps(
        {
            "workspace_id": client.headers["x-workspace-id"],
            "egress_request_id": told["egress_request_id"],
            "method": "POST",
            "url": world.url("/redelivered"),
            "headers": {},
            "body": "",
            "limits": {"timeout_s": 5.0, "max_response_bytes": 1000},
            "again": False,
            "obligations": told["obligations"],
        }
    )
    bus = await connect(api_nats_url(stack), "api")
    try:
        at_once = [bus.request(subjects.GATEWAY_REQUEST, question, timeout=20) for _ in range(4)]
        answers = [orjson.loads(reply.data) for reply in await asyncio.gather(*at_once)]
        answers.append(orjson.loads((await bus.request(subjects.GATEWAY_REQUEST, question, timeout=20)).data))
    finally:
        await bus.close()
    assert {answer["outcome"]["result"] for answer in answers} == {"succeeded"}
    assert world.of("/redelivered") == 1


def api_nats_url(stack: Stack) -> str:
    """Of the API's own user."""
    data = DataDir(stack.data_dir)
    port = int(stack.nats_url.rsplit(":", 1)[1])
    return nats_runtime.url("api", data.passwords(["nats_api"])["nats_api"], port)
