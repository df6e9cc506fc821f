"""Agents over HTTP."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def read(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def position(answer: dict[str, Any]) -> str:
    return f"{answer['stream_type']}/{answer['stream_id']}@{answer['stream_seq']}"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_an_agent_is_registered_with_its_principal(client: httpx.Client) -> None:
    made = client.post("/v1/agents", json={"display_name": "Summariser"})
    assert made.status_code == 201
    agent = made.json()
    assert agent["agent_id"].startswith("agt_")
    assert len(agent["agent_id"]) == 36
    found = read(client, f"/v1/agents/{agent['agent_id']}")["agent"]
    assert (found["display_name"], found["principal_id"]) == ("Summariser", agent["principal_id"])
    assert found["quarantined_at"] is found["quarantine_reason"] is found["revoked_at"] is None
    principal = read(client, f"/v1/principals/{agent['principal_id']}")["principal"]
    assert (principal["principal_type"], principal["legacy_actor_id"]) == ("agent", agent["agent_id"])


@pytest.mark.parametrize("body", [{}, {"display_name": " "}, {"display_name": 7}, {"display_name": "x" * 201}])
def test_an_agent_needs_a_name(client: httpx.Client, body: dict[str, Any]) -> None:
    assert code(client.post("/v1/agents", json=body)) == (400, "invalid_display_name")


def test_quarantine_and_back_are_idempotent(client: httpx.Client) -> None:
    path = f"/v1/agents/{post(client, '/v1/agents', display_name='Watcher')['agent_id']}"
    first = post(client, f"{path}/quarantine", quarantine_reason="odd")
    again = post(client, f"{path}/quarantine")
    assert first == again
    assert first["quarantine_reason"] == "odd"
    found = read(client, path)["agent"]
    assert (found["quarantined_at"], found["quarantine_reason"]) == (first["quarantined_at"], "odd")
    freed = post(client, f"{path}/unquarantine")
    assert freed["quarantined_at"] is None
    assert post(client, f"{path}/unquarantine") == freed
    assert read(client, path)["agent"]["quarantined_at"] is None
    by_default = post(client, f"{path}/quarantine")
    assert by_default["quarantine_reason"] == "manual_quarantine"
    assert read(client, path)["agent"]["quarantine_reason"] == "manual_quarantine"


def test_agents_do_not_let_agents_out(client: httpx.Client) -> None:
    agent_id = post(client, "/v1/agents", display_name="Watcher")["agent_id"]
    actor = {"actor_type": "agent", "actor_id": agent_id}
    refused = (403, "agent_action_not_allowed")
    assert code(client.post(f"/v1/agents/{agent_id}/unquarantine", json=actor)) == refused
    assert code(client.post("/v1/agents", json={"display_name": "Child", **actor})) == refused


def test_what_is_of_another_workspace_is_not_there(client: httpx.Client) -> None:
    made = post(client, "/v1/agents", display_name="Watcher")
    elsewhere = {"x-workspace-id": "ws_other"}
    for agent_id, headers in ((made["agent_id"], elsewhere), ("agt_none", {}), ("a%00b", {})):
        unknown = (404, "agent_not_found")
        assert code(client.get(f"/v1/agents/{agent_id}", headers=headers)) == unknown
        for verb in ("quarantine", "unquarantine"):
            assert code(client.post(f"/v1/agents/{agent_id}/{verb}", json={}, headers=headers)) == unknown
    other = client.get("/v1/agents", headers=elsewhere).json()["agents"]
    assert made["agent_id"] not in {agent["agent_id"] for agent in other}


def test_agents_are_listed_newest_first_in_pages(client: httpx.Client) -> None:
    made = [post(client, "/v1/agents", display_name=f"Agent {number}") for number in range(3)]
    first = read(client, "/v1/agents", limit=2, min_position=position(made[-1]))
    assert first["has_more"] is True
    rest = read(client, "/v1/agents", limit=2, cursor=first["next_cursor"])
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    found = [agent["agent_id"] for agent in first["agents"] + rest["agents"]]
    assert sorted(found) == sorted(agent["agent_id"] for agent in made)
    times = [agent["created_at"] for agent in first["agents"] + rest["agents"]]
    assert times == sorted(times, reverse=True)


def test_agents_are_found_by_part_of_name_or_id(client: httpx.Client) -> None:
    names = ("Night 100%", "night_shift", "Day")
    made = {name: post(client, "/v1/agents", display_name=name) for name in names}
    where = position(made["Day"])

    def found(q: str) -> set[str]:
        return {agent["display_name"] for agent in read(client, "/v1/agents", q=q, min_position=where)["agents"]}

    assert found("NIGHT") == {"Night 100%", "night_shift"}
    assert found("0%") == {"Night 100%"}
    assert found("t_s") == {"night_shift"}
    assert found("\\") == found("\x00") == set()
    assert found(made["Day"]["agent_id"][4:20]) == {"Day"}
    assert found("") == set(names)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"cursor": "nonsense"}, "invalid_cursor"),
        ({"limit": "0"}, "invalid_limit"),
        ({"limit": "201"}, "invalid_limit"),
        ({"q": "x" * 201}, "invalid_q"),
        ({"min_position": "x"}, "invalid_min_position"),
    ],
)
def test_what_is_malformed_is_refused(client: httpx.Client, query: dict[str, str], error: str) -> None:
    assert code(client.get("/v1/agents", params=query)) == (400, error)


def test_a_quarantined_agent_reads_and_nothing_else(client: httpx.Client) -> None:
    agent_id = post(client, "/v1/agents", display_name="Watcher")["agent_id"]
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    thread_id = post(client, f"/v1/rooms/{room_id}/threads", title="Disk")["thread_id"]
    actor = {"actor_type": "agent", "actor_id": agent_id}
    messages = f"/v1/threads/{thread_id}/messages"
    wishes: list[tuple[str, str, dict[str, Any]]] = [
        (messages, "message.create", {"content_md": "91 %", "sender_type": "agent", "sender_id": agent_id}),
        ("/v1/rooms", "room.create", {"title": "Mine", **actor}),
        ("/v1/incidents", "incident.open", {"title": "Disk full", "severity": "high", **actor}),
    ]
    for path, _, body in wishes:
        post(client, path, **body)
    for _ in range(3):
        post(client, f"/v1/agents/{agent_id}/quarantine")
        for path, kind, body in wishes:
            assert code(client.post(path, json=body)) == (403, "agent_quarantined"), path
            wish = {"type": kind, "body": {**body, "thread_id": thread_id} if path == messages else body}
            (result,) = client.post("/v1/commands", json={"commands": [wish]}).json()["results"]
            assert (result["status"], result["error"]) == (403, "agent_quarantined")
        headers = {"x-actor-type": "agent", "x-actor-id": agent_id}
        assert client.get(messages, headers=headers).status_code == 200
        post(client, f"/v1/agents/{agent_id}/unquarantine")
        for path, _, body in wishes:
            post(client, path, **body)
