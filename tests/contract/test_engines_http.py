"""Reading principals, engines, tokens and capabilities, and what a client of old expects of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def test_a_principal_on_record_can_be_read(client: httpx.Client) -> None:
    made = post(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id="ada")["principal"]
    assert read(client, f"/v1/principals/{made['principal_id']}")["principal"] == made
    assert code(client.get("/v1/principals/none")) == (404, "principal_not_found")
    elsewhere = client.get(f"/v1/principals/{made['principal_id']}", headers={"x-workspace-id": "ws_other"})
    assert code(elsewhere) == (404, "principal_not_found")


def test_principals_are_listed(client: httpx.Client) -> None:
    names = ("ada", "bo")
    made = [post(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id=name) for name in names]
    last = post(client, "/v1/principals/legacy/ensure", actor_type="service", actor_id="mailer")
    whole = read(client, "/v1/principals", min_position=position(last))
    assert whole["principals"] == [last["principal"], *(one["principal"] for one in reversed(made))]
    assert whole["next_cursor"] is None
    first = read(client, "/v1/principals", principal_type="user", limit="1")
    rest = read(client, "/v1/principals", principal_type="user", cursor=first["next_cursor"])
    assert [one["legacy_actor_id"] for one in first["principals"] + rest["principals"]] == ["bo", "ada"]
    assert code(client.get("/v1/principals", params={"principal_type": "x"})) == (400, "invalid_principal_type")


def test_engines_put_no_people_on_record(client: httpx.Client) -> None:
    engine = post(client, "/v1/engines/register", actor_id="summariser")
    headers = {"x-engine-id": engine["engine_id"], "x-engine-token": engine["token"]["engine_token"]}
    path = "/v1/principals/legacy/ensure"
    for kind, status in (("user", 403), ("service", 200)):
        answer = client.post(path, json={"actor_type": kind, "actor_id": "eve"}, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.json().get("error") == ("principal_type_not_allowed" if status == 403 else None)


def test_an_engine_reads_as_it_was_answered(client: httpx.Client) -> None:
    made = post(client, "/v1/engines/register", actor_id="summariser", metadata={"host": {"cores": 2}})
    engine_id = made["engine_id"]
    assert read(client, f"/v1/engines/{engine_id}")["engine"] == made["engine"]
    secret = made["token"].pop("engine_token")
    (token,) = read(client, f"/v1/engines/{engine_id}/tokens")["tokens"]
    assert token == made["token"]
    ended = post(client, f"/v1/engines/{engine_id}/deactivate", reason="retired")
    assert read(client, f"/v1/engines/{engine_id}")["engine"] == ended["engine"]
    assert (ended["engine"]["status"], ended["engine"]["deactivated_reason"]) == ("inactive", "retired")
    (token,) = read(client, f"/v1/engines/{engine_id}/tokens")["tokens"]
    assert (token["revoked_at"], token["revoked_reason"]) == (ended["engine"]["deactivated_at"], "retired")
    assert secret not in client.get(f"/v1/engines/{engine_id}/tokens").text
    assert client.post(f"/v1/engines/{engine_id}/deactivate", json={}).json()["engine"] == ended["engine"]


def test_engines_and_tokens_are_listed_newest_first_in_pages(client: httpx.Client) -> None:
    made = [post(client, "/v1/engines/register", actor_id=f"e{number}") for number in range(3)]
    where = position(made[-1])
    first = read(client, "/v1/engines", limit=2, min_position=where)
    rest = read(client, "/v1/engines", limit=2, cursor=first["next_cursor"])
    found = [engine["engine_id"] for engine in first["engines"] + rest["engines"]]
    assert sorted(found) == sorted(one["engine_id"] for one in made)
    assert rest["next_cursor"] is None
    engine_id = made[0]["engine_id"]
    issued = [post(client, f"/v1/engines/{engine_id}/tokens/issue", token_label=f"t{n}")["token"] for n in range(2)]
    page = read(client, f"/v1/engines/{engine_id}/tokens", limit=2)
    assert [token["token_id"] for token in page["tokens"]] == [token["token_id"] for token in reversed(issued)]
    last = read(client, f"/v1/engines/{engine_id}/tokens", limit=2, cursor=page["next_cursor"])
    assert [token["token_id"] for token in last["tokens"]] == [made[0]["token"]["token_id"]]
    for path in ("/v1/engines", f"/v1/engines/{engine_id}/tokens"):
        assert code(client.get(path, params={"limit": 0})) == (400, "invalid_limit")
        assert code(client.get(path, params={"cursor": "x"})) == (400, "invalid_cursor")
    assert code(client.get("/v1/engines/eng_none")) == (404, "engine_not_found")
    assert code(client.get("/v1/engines/eng_none/tokens")) == (404, "engine_not_found")
    assert client.get("/v1/engines", headers={"x-workspace-id": "ws_other"}).json()["engines"] == []


def test_capabilities_of_a_principal_tell_what_was_allowed_and_until_when(client: httpx.Client) -> None:
    scopes = {"rooms": ["room_1"], "action_types": ["run.claim"]}
    made = post(client, "/v1/engines/register", actor_id="e", scopes=scopes, valid_until="2027-01-01T02:00:00+02:00")
    second = post(client, f"/v1/engines/{made['engine_id']}/tokens/issue")
    principal = made["engine"]["principal_id"]
    where = position(second)
    newest, oldest = read(client, "/v1/capabilities", principal_id=principal, min_position=where)["tokens"]
    assert oldest["token_id"] == made["token"]["capability_token_id"]
    assert (oldest["scopes"], oldest["valid_until"], oldest["issued_to_principal_id"], oldest["revoked_at"]) == (
        scopes,
        "2027-01-01T00:00:00.000Z",
        principal,
        None,
    )
    assert newest["scopes"]["rooms"] == ["*"]
    post(client, "/v1/capabilities/revoke", token_id=oldest["token_id"])
    token = second["token"]["token_id"]
    gone = post(client, f"/v1/engines/{made['engine_id']}/tokens/{token}/revoke")
    after = read(client, "/v1/capabilities", principal_id=principal, min_position=position(gone))["tokens"]
    assert all(row["revoked_at"] for row in after), "a token's capability ends with the token"
    assert code(client.get("/v1/capabilities")) == (400, "principal_id_required")
    assert read(client, "/v1/capabilities", principal_id="none")["tokens"] == []


def credentials(registered: dict[str, Any]) -> dict[str, str]:
    return {"x-engine-id": registered["engine_id"], "x-engine-token": registered["token"]["engine_token"]}


def claim(client: httpx.Client, headers: dict[str, str], **body: Any) -> httpx.Response:
    return client.post("/v1/runs/claim", json=body, headers=headers, timeout=40)


def test_claims_are_bound_by_the_tokens_scopes(client: httpx.Client) -> None:
    inside, outside = (post(client, "/v1/rooms", title="r")["room_id"] for _ in range(2))
    narrow = post(client, "/v1/engines/register", actor_id="narrow", scopes={"rooms": [inside]})
    homeless = credentials(post(client, "/v1/engines/register", actor_id="homeless", scopes={"rooms": []}))
    idle = credentials(post(client, "/v1/engines/register", actor_id="idle", scopes={"action_types": ["run.claim"]}))
    assert code(claim(client, {})) == (401, "missing_engine_token")
    assert code(claim(client, {}, engine_id=narrow["engine_id"])) == (401, "missing_engine_token")
    assert code(claim(client, credentials(narrow), room_id=outside)) == (403, "engine_room_not_allowed")
    assert code(claim(client, homeless)) == (403, "engine_room_scope_required")

    far, near = (post(client, "/v1/runs", room_id=room)["run_id"] for room in (outside, inside))
    in_body = {"engine_id": narrow["engine_id"], "engine_token": narrow["token"]["engine_token"]}
    taken = claim(client, {}, **in_body).json()["run"]
    assert (taken["run_id"], taken["claimed_by_actor_id"]) == (near, "narrow"), "the older run is in another room"
    assert claim(client, credentials(narrow)).json() == {"claimed": False, "run": None}

    beat, release = (f"/v1/runs/{far}/lease/{verb}" for verb in ("heartbeat", "release"))
    held = {"claim_token": claim(client, idle, room_id=outside).json()["run"]["claim_token"]}
    assert code(client.post(beat, json=held, headers=idle)) == (403, "engine_action_not_allowed")
    assert code(client.post(release, json=held, headers=idle)) == (403, "engine_action_not_allowed")
    assert code(client.post(beat, json=held, headers=credentials(narrow))) == (403, "engine_room_not_allowed")
    assert client.post(release, json={**held, **in_body, "engine_token": "x"}).status_code == 401
    assert client.post(release, json=held).json()["released"] is True, "in open mode the claim token is enough"


def test_who_is_revoked_while_it_waits_gets_no_run(client: httpx.Client) -> None:
    room = post(client, "/v1/rooms", title="r")["room_id"]
    made = post(client, "/v1/engines/register", actor_id="waiter")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(claim, client, credentials(made), room_id=room, wait_s=20)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)  # it is parked
        post(client, f"/v1/engines/{made['engine_id']}/tokens/{made['token']['token_id']}/revoke")
        run = post(client, "/v1/runs", room_id=room)["run_id"]
        assert code(waiting.result(20)) == (401, "engine_token_expired")
    assert read(client, f"/v1/runs/{run}")["run"]["status"] == "queued"
    other = credentials(post(client, "/v1/engines/register", actor_id="other"))
    assert claim(client, other, room_id=room, wait_s=10).json()["run"]["run_id"] == run
