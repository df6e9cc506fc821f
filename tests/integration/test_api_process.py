"""The API as a process of its own: what it starts without, what it refuses to start with, and who may call it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import httpx
import pytest

from agentos_shared.host.lifecycle import CLOCK
from agentos_shared.tokens import links
from tests.fixtures.api_process import StartApi
from tests.fixtures.live import MortalNats
from tests.fixtures.stack import Postgres, wait_until


def test_writes_go_on_without_nats_and_are_published_later(
    start_api: StartApi, mortal_nats: MortalNats, postgres: Postgres
) -> None:
    mortal_nats.kill()
    api = start_api(mortal_nats.url)
    api.wait_up()
    made = httpx.post(f"{api.url}/v1/rooms", json={"title": "Ops"})
    assert made.status_code == 201
    ready = httpx.get(f"{api.url}/readyz")
    assert (ready.status_code, ready.json()["checks"]["nats"]["ok"]) == (503, False)
    assert ready.json()["checks"]["postgres"]["ok"] is True
    room = made.json()["room_id"]
    with httpx.stream("GET", f"{api.url}/v1/streams/rooms/{room}") as feed:
        assert next(line for line in feed.iter_lines() if line.startswith("id:")) == "id: 1", "history needs no NATS"
    assert waiting(postgres) == 1
    mortal_nats.start()
    mortal_nats.wait_ready()
    wait_until(lambda: waiting(postgres) == 0, 20, api.log)


def test_sigterm_ends_it_cleanly_even_with_an_open_stream(start_api: StartApi, mortal_nats: MortalNats) -> None:
    api = start_api(mortal_nats.url)
    api.wait_up()
    with httpx.stream("GET", f"{api.url}/v1/streams/workspace") as feed:
        lines = feed.iter_lines()
        assert next(lines) == "retry: 2000"
        api.process.terminate()
        assert any(line == "event: gone" for line in lines)
    assert api.wait_end() == 0, api.log()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"AGENTOS_HOST": "0.0.0.0"}, "AGENTOS_AUTH=open does not listen on 0.0.0.0"),
        ({"AGENTOS_AUTH": "enforced"}, "needs AGENTOS_LOCAL_TOKEN_FILE"),
        ({"AGENTOS_PORT": "0"}, "AGENTOS_PORT"),
        ({"AGENTOS_POSTGRES_URL": "mysql://x"}, "AGENTOS_POSTGRES_URL"),
    ],
)
def test_settings_it_refuses_to_start_with(start_api: StartApi, env: Mapping[str, str], said: str) -> None:
    api = start_api("nats://api:secret@127.0.0.1:4222", env)
    assert api.wait_end() == 2
    assert said in api.log()
    assert "secret" not in api.log()


def test_enforced_mode_asks_for_the_local_users_token(
    start_api: StartApi, mortal_nats: MortalNats, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    api = start_api(mortal_nats.url, {"AGENTOS_AUTH": "enforced", "AGENTOS_LOCAL_TOKEN_FILE": str(token)})
    api.wait_up()
    anonymous = httpx.post(f"{api.url}/v1/rooms", json={"title": "Ops"})
    assert (anonymous.status_code, anonymous.json()["error"]) == (401, "missing_bearer_token")
    assert anonymous.headers["www-authenticate"] == "Bearer"
    wrong = httpx.get(f"{api.url}/v1/rooms", headers={"authorization": "Bearer wrong"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_token")
    right = {"authorization": "Bearer correct-horse"}
    claimed = {"title": "Ops", "actor_type": "agent", "actor_id": "mallory"}
    made = httpx.post(f"{api.url}/v1/rooms", json=claimed, headers=right)
    assert made.status_code == 201
    event = httpx.get(f"{api.url}/v1/events/{made.json()['event_id']}", headers=right).json()["event"]
    assert (event["actor_type"], event["actor_id"]) == ("user", "local"), "the credential says who it is, not the body"
    cookie = httpx.get(f"{api.url}/v1/events", headers={"cookie": "agentos_session=correct-horse"})
    assert cookie.status_code == 401, "the token itself never is a cookie"


def test_a_one_time_link_signs_a_browser_in_once(start_api: StartApi, mortal_nats: MortalNats, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    before = links.link_path("correct-horse", CLOCK.now())
    api = start_api(mortal_nats.url, {"AGENTOS_AUTH": "enforced", "AGENTOS_LOCAL_TOKEN_FILE": str(token)})
    api.wait_up()
    link = links.link_path("correct-horse", CLOCK.now())
    assert httpx.head(api.url + link).status_code == 405, "looking at it does not use it up"
    opened = httpx.get(api.url + link)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert opened.headers["cache-control"] == "no-store"
    cookie, *attributes = opened.headers["set-cookie"].split("; ")
    assert {"Path=/", "HttpOnly", "SameSite=Strict"} <= set(attributes)
    assert httpx.get(f"{api.url}/v1/events", headers={"cookie": cookie}).status_code == 200
    made = httpx.post(f"{api.url}/v1/rooms", json={"title": "Ops"}, headers={"cookie": cookie, "origin": api.url})
    assert made.status_code == 201
    foreign = {"cookie": cookie, "origin": "https://example.org"}
    assert httpx.post(f"{api.url}/v1/rooms", json={"title": "Ops"}, headers=foreign).status_code == 403
    old = CLOCK.now() - links.LINK_LIFE
    forged = [
        link,
        before,
        links.link_path("other", CLOCK.now()),
        links.link_path("correct-horse", old),
        "/auth/once/x",
    ]
    for path in forged:
        refused = httpx.get(api.url + path)
        assert (refused.status_code, refused.json()["error"]) == (401, "one_time_link_invalid"), path
    for wrong in (cookie[:-1], cookie.replace("=1", "=2"), "agentos_session=" + link.removeprefix("/auth/once/")):
        assert httpx.get(f"{api.url}/v1/events", headers={"cookie": wrong}).status_code == 401


def waiting(postgres: Postgres) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(postgres.owner_url)
        try:
            return int(await connection.fetchval("select count(*) from evt_outbox"))
        finally:
            await connection.close()

    return asyncio.run(count())


def test_a_nearly_full_disk_leaves_reads_only(start_api: StartApi, mortal_nats: MortalNats, tmp_path: Path) -> None:
    api = start_api(mortal_nats.url, {"AGENTOS_DISK_PATH": str(tmp_path), "AGENTOS_DISK_LOW_MB": str(2**40)})
    api.wait_up()
    wait_until(lambda: httpx.post(f"{api.url}/v1/rooms", json={"title": "Ops"}).status_code == 507, 10, api.log)
    refused = httpx.post(f"{api.url}/v1/commands", json={"commands": [{"type": "room.create", "body": {"title": "t"}}]})
    assert (refused.status_code, refused.json()["error"]) == (507, "disk_nearly_full")
    assert httpx.get(f"{api.url}/v1/events").status_code == 200
