"""Egress rules and proposals over HTTP."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

RULES = "/v1/egress/rules"
PROPOSALS = "/v1/egress/proposals"


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


def get(client: httpx.Client, url: str, /, **query: str) -> Any:
    answer = client.get(url, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: httpx.Client, url: str, /, **body: Any) -> tuple[int, str]:
    answer = client.post(url, json=body)
    return answer.status_code, answer.json()["error"]


def at(made: dict[str, Any]) -> str:
    return f"{made['stream_type']}/{made['stream_id']}@{made['stream_seq']}"


def test_a_rule_from_its_setting_to_its_removal(client: httpx.Client) -> None:
    assert get(client, RULES) == {"rules": [], "next_cursor": None}
    rate = {"requests": 60, "per_s": 60, "burst": 60, "per": "principal"}
    made = post(
        client, RULES, host="API.GitHub.com", path="/repos/ada/**", rate={"requests": 60, "per_s": 60}, actor_id="ada"
    )
    rule = get(client, f"{RULES}/{made['rule_id']}")["rule"]
    assert (rule["host"], rule["effect"], rule["methods"], rule["mode"]) == ("api.github.com", "allow", None, "enforce")
    assert (rule["path"], rule["rate"], rule["set_by_id"], rule["status"]) == ("/repos/ada/**", rate, "ada", "active")
    assert rule["workspace_id"] == client.headers["x-workspace-id"]

    again = post(client, RULES, host="api.github.com.", path="/repos/ada/**", rate=rate)
    assert (again["rule_id"], again["stream_seq"]) == (made["rule_id"], made["stream_seq"])
    changed = post(client, RULES, host="api.github.com", path="/repos/ada/**", effect="deny")
    assert changed["rule_id"] == made["rule_id"]
    assert get(client, f"{RULES}/{made['rule_id']}")["rule"]["effect"] == "deny"

    gone = post(client, f"{RULES}/remove", rule_id=made["rule_id"], reason="not ours any more")
    rule = get(client, f"{RULES}/{made['rule_id']}")["rule"]
    assert (rule["status"], rule["remove_reason"], rule["removed_by_id"]) == ("removed", "not ours any more", "anon")
    assert get(client, RULES, status="active", min_position=at(gone))["rules"] == []
    assert refused(client, f"{RULES}/remove", rule_id=made["rule_id"]) == (404, "egress_rule_not_found")

    back = post(client, RULES, host="api.github.com", path="/repos/ada/**")
    listed = get(client, RULES, host="api.github.com", min_position=at(back))["rules"]
    assert [(rule["status"], rule["removed_at"]) for rule in listed] == [("active", None)]


def test_what_is_no_rule_is_refused(client: httpx.Client) -> None:
    assert refused(client, RULES)[0] == 400
    assert refused(client, RULES, host="https://example.org/") == (400, "invalid_host")
    assert refused(client, RULES, host="127.1") == (400, "invalid_host")
    assert refused(client, RULES, host="a.*.org") == (400, "invalid_host")
    assert refused(client, RULES, host="example.org", path="/a/../b") == (400, "invalid_path")
    assert refused(client, RULES, host="localhost", private=True) == (400, "invalid_private")
    assert refused(client, RULES, host="example.org", room_id="room_none") == (404, "room_not_found")
    assert refused(client, RULES, host="x.org", expires_at="2020-01-01T00:00:00Z") == (400, "invalid_expires_at")
    for actor_type in ("agent", "service"):
        assert refused(client, RULES, host="x.org", actor_type=actor_type) == (403, "rule_setter_must_be_user")
    assert client.get(f"{RULES}/egrl_none").status_code == 404


def test_the_approval_of_a_proposal_puts_the_rule_in_force(client: httpx.Client) -> None:
    asked = post(
        client,
        PROPOSALS,
        host="pypi.org",
        methods=["CONNECT", "GET"],
        rationale="pip must load packages",
        actor_type="agent",
        actor_id="builder",
    )
    (proposal,) = get(client, PROPOSALS, min_position=at(asked))["proposals"]
    assert (proposal["status"], proposal["requested_by_id"]) == ("pending", "builder")
    assert proposal["request"]["methods"] == ["CONNECT", "GET"]
    assert proposal["context"]["rationale"] == "pip must load packages"
    assert get(client, RULES)["rules"] == []

    path = f"/v1/approvals/{asked['approval_id']}/decide"
    assert refused(client, path, decision="approve", actor_type="agent", actor_id="builder")[0] == 403
    decided = post(client, path, decision="approve", expected_digest=asked["action_digest"])
    (rule,) = get(client, RULES, min_position=at(decided))["rules"]
    assert (rule["host"], rule["approval_id"], rule["set_by_id"]) == ("pypi.org", asked["approval_id"], "ceo")
    assert get(client, f"/v1/approvals/{asked['approval_id']}")["approval"]["status"] == "consumed"
    assert refused(client, path, decision="approve") == (409, "approval_already_decided")


def test_a_denied_proposal_sets_nothing_and_an_edited_one_what_was_approved(client: httpx.Client) -> None:
    asked = post(client, PROPOSALS, host="*", effect="allow")
    post(client, f"/v1/approvals/{asked['approval_id']}/decide", decision="deny")
    asked = post(client, PROPOSALS, host="*.example.org")
    path = f"/v1/approvals/{asked['approval_id']}/decide"
    assert refused(client, path, decision="approve", edited_request={"host": "a b"}) == (400, "invalid_host")
    assert refused(client, path, decision="approve", edited_request={"x": 1}) == (400, "invalid_edited_request")
    assert refused(client, path, decision="approve", scope={"type": "workspace"}) == (400, "invalid_scope")
    end = "2099-01-01T00:00:00.000Z"
    decided = post(client, path, decision="approve", edited_request={"host": "docs.example.org"}, expires_at=end)
    (rule,) = get(client, RULES, min_position=at(decided))["rules"]
    assert (rule["host"], rule["expires_at"]) == ("docs.example.org", end)
    statuses = [proposal["status"] for proposal in get(client, PROPOSALS, min_position=at(decided))["proposals"]]
    assert statuses == ["consumed", "denied"]


def test_the_gate_knows_a_rule_from_its_answer_on(client: httpx.Client) -> None:
    def verdict() -> str:
        question = {
            "subject": {"type": "user", "id": "ada"},
            "action": {"name": "external.write"},
            "resource": {"type": "host", "id": "api.example.org"},
        }
        answer = client.post("/access/v1/evaluation", json=question).json()
        reason: str = answer["context"]["reason_code"]
        return reason

    assert verdict() == "external_write_requires_approval"
    made = post(client, RULES, host="*.example.org", methods=["CONNECT"])
    assert verdict() == "egress.rule_allows"
    post(client, RULES, host="api.example.org", effect="deny")
    assert verdict() == "egress.host_not_allowed"
    post(client, RULES, host="api.example.org", effect="deny", mode="shadow")
    assert verdict() == "egress.rule_allows"
    post(client, f"{RULES}/remove", rule_id=made["rule_id"])
    assert verdict() == "external_write_requires_approval"


def test_authzen_tells_method_and_path(client: httpx.Client) -> None:
    post(client, RULES, host="api.example.org", path="/v1/**")
    question = {
        "subject": {"type": "user", "id": "ada"},
        "action": {"name": "external.write"},
        "resource": {"type": "host", "id": "api.example.org"},
    }
    for context, expected in (
        ({"method": "get", "path": "/v1/x"}, True),
        ({"method": "POST", "path": "/v1/x"}, False),
        ({"method": "GET", "path": "/v2/x"}, False),
        ({"method": 1, "path": {}, "port": "a"}, False),
        ({}, False),
    ):
        answer = client.post("/access/v1/evaluation", json={**question, "context": context})
        assert answer.json()["decision"] is expected, context


def test_the_commands_are_there_on_nats_and_in_bulk(client: httpx.Client) -> None:
    commands = [{"type": "egress_rule.set", "body": {"host": f"h{place}.example.org"}} for place in range(3)]
    results = post(client, "/v1/commands", commands=commands)["results"]
    assert [result["status"] for result in results] == [201, 201, 201]
    assert "egress_rule.propose" in client.get("/asyncapi.json").text
