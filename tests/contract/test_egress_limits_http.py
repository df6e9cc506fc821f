"""Egress rules at work: a private port is opened by name, limits stop what is too much, and say for how long."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

RULES = "/v1/egress/rules"
REQUESTS = "/v1/egress/requests"


class Hello(BaseHTTPRequestHandler):
    """Answers hello, with as much behind it as the path asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"hello" + b"." * int(self.path.strip("/") or 0)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


def post(client: httpx.Client, url: str, /, **body: Any) -> dict[str, Any]:
    answer = client.post(url, json=body)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def send(client: httpx.Client, port: int, path: str = "/") -> dict[str, Any]:
    return post(client, REQUESTS, target_url=f"http://127.0.0.1:{port}{path}")


def test_a_rule_lets_out_and_opens_just_what_it_says(client: httpx.Client, port: int) -> None:
    assert send(client, port)["reason_code"] == "external_write_requires_approval"
    rule = post(client, RULES, host="127.0.0.1", port=port)["rule_id"]
    assert send(client, port)["reason_code"] == "egress.ip_denied"
    assert post(client, RULES, host="127.0.0.1", port=port, private=True)["rule_id"] == rule
    sent = send(client, port)
    assert (sent["reason_code"], sent["outcome"]["status"]) == ("egress.rule_allows", 200)
    assert sent["outcome"]["content"] == {"type": "text", "text": "hello"}
    assert sent["determining_rules"] == [{"rule_id": rule, "effect": "allow", "source": "rule"}]
    post(client, RULES, host="*", effect="deny", methods=["GET"])
    assert send(client, port)["reason_code"] == "egress.host_not_allowed"


def test_a_rate_limit_stops_what_is_too_much_and_says_so(client: httpx.Client, port: int) -> None:
    rate = {"requests": 2, "per_s": 600}
    rule = post(client, RULES, host="127.0.0.1", port=port, private=True, rate=rate)["rule_id"]
    assert [send(client, port)["decision"] for _ in range(3)] == ["allow", "allow", "deny"]
    refused = send(client, port)
    assert (refused["reason_code"], refused["outcome"]) == ("egress.rate_limited", None)
    assert 200 < refused["retry_after"] <= 300
    events = client.get("/v1/events", params={"event_types": "quota.exceeded"}).json()["events"]
    found = [event for event in events if event["event_type"] == "quota.exceeded"]
    assert [event["data"]["rule_id"] for event in found] == [rule, rule]
    other = post(client, REQUESTS, target_url=f"http://127.0.0.1:{port}/", actor_type="user", actor_id="ben")
    assert other["decision"] == "allow"


def test_bodies_are_kept_within_their_limits(client: httpx.Client, port: int) -> None:
    limits = {"request_bytes": 3, "response_bytes": 10, "methods": ["GET", "POST"]}
    post(client, RULES, host="127.0.0.1", port=port, private=True, **limits)
    answered = send(client, port, "/100")["outcome"]
    assert (answered["truncated"], answered["content"]["text"]) == (True, "hello.....")
    refused = post(client, REQUESTS, target_url=f"http://127.0.0.1:{port}/", method="POST", body="four")
    assert refused["reason_code"] == "egress.too_large"


def test_what_a_watched_rule_would_have_denied_is_told(client: httpx.Client, port: int) -> None:
    post(client, RULES, host="127.0.0.1", port=port, private=True)
    post(client, RULES, host="*", effect="deny", mode="shadow")
    sent = send(client, port)
    assert sent["decision"] == "allow"
    row = client.get(f"{REQUESTS}/{sent['egress_request_id']}").json()["request"]
    assert (row["would_deny"], row["policy_reason_code"]) == (True, "egress.rule_allows")


def test_what_was_let_out_is_on_record_for_a_backtest_and_a_drill(client: httpx.Client, port: int) -> None:
    post(client, RULES, host="127.0.0.1", port=port, private=True)
    send(client, port, "/1")
    policy = '@id("no-one") forbid (principal, action in Action::"egress", resource) when { context has path };'
    bundle = {"a.cedar": f"permit (principal, action, resource);\n{policy}"}
    told = post(client, "/v1/policy/simulate", bundle=bundle)
    changes = [change for change in told["changes"] if change["event_type"] == "egress.allowed"]
    assert [change["before"]["reason_code"] for change in changes] == ["egress.rule_allows"]
    assert changes[0]["after"]["determining_rules"][0]["rule_id"] == "no-one"
    drill = client.get("/v1/policy/kill-switch/drill", params={"scope": "egress_host", "target": "127.0.0.1"}).json()
    assert {act["event_type"] for act in drill["stopped"]} == {"egress.sent"}
