"""Granting capabilities and handing them on, over HTTP."""

from collections.abc import Iterator
from itertools import pairwise
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


def principal(client: httpx.Client, name: str) -> str:
    made = post(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id=name)
    found: str = made["principal"]["principal_id"]
    return found


def grant(client: httpx.Client, to: str, by: str, parent: str | None = None, **members: Any) -> httpx.Response:
    body = {"issued_to_principal_id": to, "granted_by_principal_id": by, "parent_token_id": parent, **members}
    return client.post("/v1/capabilities/grant", json=body)


def test_a_capability_is_handed_on_down_to_the_limit(client: httpx.Client) -> None:
    people = [principal(client, f"p{number}") for number in range(8)]
    scopes = {"tools": ["http.get", "shell"], "egress_domains": ["*.example.org"]}
    made = [grant(client, people[1], people[0], scopes=scopes)]
    for by, to in pairwise(people[1:7]):
        parent = made[-1].json()["token_id"]
        made.append(grant(client, to, by, parent, scopes={"tools": ["shell", "sql"], "egress_domains": ["*"]}))
    assert [answer.status_code for answer in made] == [201] * 6
    tokens = [answer.json()["token_id"] for answer in made]
    too_deep = grant(client, people[7], people[6], tokens[-1])
    assert code(too_deep) == (400, "delegation_depth_exceeded")
    where = position(made[-1].json())
    (last,) = read(client, "/v1/capabilities", principal_id=people[6], min_position=where)["tokens"]
    assert (last["token_id"], last["parent_token_id"]) == (tokens[-1], tokens[-2])
    assert last["scopes"] == {"tools": ["shell"], "egress_domains": ["*.example.org"]}
    edges = read(client, "/v1/capabilities/delegations", principal_id=people[2], min_position=where)["edges"]
    assert [(edge["depth"], edge["parent_token_id"], edge["child_token_id"]) for edge in edges] == [
        (2, tokens[1], tokens[2]),
        (1, tokens[0], tokens[1]),
    ]
    assert edges[0]["edge_id"].startswith("cedg_")
    assert edges[0]["parent_token_owner_principal_id"] == edges[0]["granted_by_principal_id"] == people[2]
    assert edges[0]["child_token_owner_principal_id"] == edges[0]["issued_to_principal_id"] == people[3]
    first = read(client, "/v1/capabilities/delegations", principal_id=people[2], limit=1)
    rest = read(client, "/v1/capabilities/delegations", principal_id=people[2], cursor=first["next_cursor"])
    assert first["edges"] + rest["edges"] == edges
    assert rest["next_cursor"] is None


def test_what_a_grant_may_lack(client: httpx.Client) -> None:
    ada = principal(client, "ada")
    elsewhere = client.post(
        "/v1/principals/legacy/ensure",
        json={"actor_type": "user", "actor_id": "eve"},
        headers={"x-workspace-id": "ws_other"},
    ).json()["principal"]["principal_id"]
    body = {"issued_to_principal_id": ada, "granted_by_principal_id": ada}
    for members, error in (
        ({"issued_to_principal_id": None}, "issued_to_principal_id_required"),
        ({"granted_by_principal_id": None}, "granted_by_principal_id_required"),
        ({"issued_to_principal_id": elsewhere}, "issued_to_principal_not_found"),
        ({"granted_by_principal_id": elsewhere}, "granted_by_principal_not_found"),
        ({"valid_until": "soon"}, "invalid_valid_until"),
        ({"scopes": {"rooms": "all"}}, "invalid_scopes"),
        ({"scopes": {"planets": []}}, "unknown_field"),
    ):
        assert code(client.post("/v1/capabilities/grant", json={**body, **members})) == (400, error), members


def test_refused_delegations_go_on_record(client: httpx.Client) -> None:
    ada, bob, eve = (principal(client, name) for name in ("ada", "bob", "eve"))
    token = grant(client, bob, ada).json()["token_id"]
    assert code(grant(client, eve, eve, token)) == (403, "parent_token_grantor_mismatch")
    assert code(grant(client, eve, bob, "none")) == (404, "parent_token_not_found")
    found = read(client, "/v1/events", event_type="agent.delegation.attempted")["events"]
    reasons = {(event["data"]["denied_reason"], event["data"]["parent_token_id"]) for event in found}
    assert reasons == {("parent_token_grantor_mismatch", token), ("parent_token_not_found", "none")}
    assert {event["data"]["max_depth"] for event in found} == {5}
    attempt = next(event["entity_id"] for event in found)
    assert code(client.post("/v1/capabilities/revoke", json={"token_id": attempt})) == (404, "token_not_found")
    body = {"issued_to_principal_id": eve, "granted_by_principal_id": eve, "parent_token_id": token}
    bulk = {"atomic": True, "commands": [{"type": "capability.grant", "body": body}]}
    assert code(client.post("/v1/commands", json=bulk)) == (403, "parent_token_grantor_mismatch")
    bulk["atomic"] = False
    (result,) = client.post("/v1/commands", json=bulk).json()["results"]
    assert (result["status"], result["error"]) == (403, "parent_token_grantor_mismatch")
    found = read(client, "/v1/events", event_type="agent.delegation.attempted")["events"]
    assert len(found) == 3


def test_what_has_ended_is_not_handed_on(client: httpx.Client) -> None:
    ada, bob, eve = (principal(client, name) for name in ("ada", "bob", "eve"))
    root = grant(client, bob, ada).json()["token_id"]
    child = grant(client, eve, bob, root).json()["token_id"]
    assert grant(client, ada, eve, child).status_code == 201
    post(client, "/v1/capabilities/revoke", token_id=root)
    assert code(grant(client, eve, bob, root)) == (400, "parent_token_revoked")
    assert code(grant(client, ada, eve, child)) == (400, "parent_token_revoked")
    old = grant(client, bob, ada, valid_until="2020-01-01T00:00:00Z").json()["token_id"]
    assert code(grant(client, eve, bob, old)) == (400, "parent_token_expired")


def test_the_capability_of_an_engine_token_ends_with_it(client: httpx.Client) -> None:
    eve = principal(client, "eve")
    made = post(client, "/v1/engines/register", actor_id="summariser")
    token = made["token"]
    owner = made["engine"]["principal_id"]
    child = grant(client, eve, owner, token["capability_token_id"]).json()["token_id"]
    assert grant(client, owner, eve, child).status_code == 201
    post(client, f"/v1/engines/{made['engine_id']}/tokens/{token['token_id']}/revoke")
    assert code(grant(client, owner, eve, child)) == (400, "parent_token_revoked")
    assert code(grant(client, eve, owner, token["capability_token_id"])) == (400, "parent_token_revoked")


def test_rooms_outside_the_parents_are_refused(client: httpx.Client) -> None:
    ada, bob = principal(client, "ada"), principal(client, "bob")
    root = grant(client, bob, ada, scopes={"rooms": ["room_1"]}).json()["token_id"]
    assert code(grant(client, ada, bob, root, scopes={"rooms": ["room_2"]})) == (400, "scopes_outside_parent")


def test_agents_make_no_capabilities(client: httpx.Client) -> None:
    ada = principal(client, "ada")
    refused = grant(client, ada, ada, actor_type="agent", actor_id="watcher")
    assert code(refused) == (403, "agent_action_not_allowed")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({}, "principal_id_required"),
        ({"principal_id": "x", "limit": "0"}, "invalid_limit"),
        ({"principal_id": "x", "cursor": "x"}, "invalid_cursor"),
        ({"principal_id": "x", "min_position": "x"}, "invalid_min_position"),
    ],
)
def test_malformed_lists_of_delegations_are_refused(client: httpx.Client, query: dict[str, str], error: str) -> None:
    assert code(client.get("/v1/capabilities/delegations", params=query)) == (400, error)
    assert read(client, "/v1/capabilities/delegations", principal_id="\x00")["edges"] == []
