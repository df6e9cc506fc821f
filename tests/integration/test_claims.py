"""Claims against a whole stack: who gets which run, and that nobody gets another's."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from nats import connect

from tests.fixtures.engines import Site, site
from tests.fixtures.live import until
from tests.fixtures.stack import Stack

ROUNDS = 1000
SIDE_BY_SIDE = 20


@pytest_asyncio.fixture
async def here(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack.url) as made:
        yield made


async def test_of_two_engines_one_gets_the_run_a_thousand_times_over(stack: Stack) -> None:
    async def rounds() -> None:
        async with site(stack.url) as here:
            room = await here.room()
            for _ in range(ROUNDS // SIDE_BY_SIDE):
                run_id = await here.run(room)
                one, other = await asyncio.gather(here.claim("one"), here.claim("other"))
                got = [claimed for claimed in (one, other) if claimed is not None]
                assert [claimed["run_id"] for claimed in got] == [run_id]
                assert (await here.complete(got[0])).status_code == 200

    await asyncio.gather(*(rounds() for _ in range(SIDE_BY_SIDE)))


async def test_many_engines_share_many_runs_each_once(here: Site) -> None:
    room = await here.room()
    runs = set(await asyncio.gather(*(here.run(room) for _ in range(60))))
    claimed = await asyncio.gather(*(here.claim(f"engine_{n}") for n in range(80)))
    got = [run["run_id"] for run in claimed if run is not None]
    assert sorted(got) == sorted(runs)
    assert len({run["claim_token"] for run in claimed if run is not None}) == 60


async def test_higher_priority_first_then_the_older(here: Site) -> None:
    room = await here.room()
    plain = [await here.run(room) for _ in range(3)]
    urgent = await here.run(room, priority=7)
    lowly = await here.run(room, priority=-1)
    order = []
    while (run := await here.claim()) is not None:
        order.append(run["run_id"])
    assert order == [urgent, *plain, lowly]


async def test_rooms_tags_and_handlers_narrow_a_claim(here: Site) -> None:
    one, other = await here.room(), await here.room()
    plain = await here.run(one)
    tagged = await here.run(other, tags=["gpu", "night"])
    handled = await here.run(other, input={"handler": "echo"})
    assert await here.claim(room_id=one, tags=["gpu"]) is None
    assert await here.claim(handlers=["shell", "http"]) is None
    assert await here.claim(room_id=one, handlers=["echo"]) is None
    for wanted, filters in (
        (handled, {"handlers": ["shell", "echo"]}),
        (tagged, {"tags": ["night", "gpu"]}),
        (plain, {"room_id": one}),
    ):
        run = await here.claim(**filters)
        assert run is not None
        assert run["run_id"] == wanted
    assert await here.claim() is None


async def test_a_claim_that_waits_is_woken_by_a_run_and_by_a_release(here: Site) -> None:
    room = await here.room()
    waiting = asyncio.create_task(here.claim("patient", wait_s=20))
    await asyncio.wait([waiting], timeout=0.3)
    run_id = await here.run(room)
    async with asyncio.timeout(5):
        got = await waiting
    assert got is not None
    assert got["run_id"] == run_id
    waiting = asyncio.create_task(here.claim("next", wait_s=20))
    await asyncio.wait([waiting], timeout=0.3)
    assert (await here.lease(got, "release")).json()["released"] is True
    async with asyncio.timeout(5):
        again = await waiting
    assert again is not None
    assert (again["run_id"], again["attempt_no"], again["fencing_token"]) == (run_id, 2, 2)
    assert again["claim_token"] != got["claim_token"]


async def test_waiting_ends_with_nothing(here: Site) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await here.claim(wait_s=0.5) is None
    assert 0.4 < loop.time() - began < 3


async def test_the_same_key_gets_the_same_claim(here: Site) -> None:
    room = await here.room()
    await here.run(room)
    first = await here.post("/v1/runs/claim", {"actor_id": "e"}, idempotency_key="k1")
    again = await here.post("/v1/runs/claim", {"actor_id": "e"}, idempotency_key="k1")
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await here.post("/v1/runs/claim", {"actor_id": "e", "wait_s": 1}, idempotency_key="k1")
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    # Another engine's key is another key, even if it looks the same.
    assert (await here.post("/v1/runs/claim", {"actor_id": "f"}, idempotency_key="k1")).json()["claimed"] is False


async def sent(here: Site, stack: Stack, key: str = "", **claim: Any) -> asyncio.StreamWriter:
    """A connection on which a claim has just been asked for."""
    body = json.dumps({"actor_id": "e", **claim}).encode()
    place = urlsplit(stack.url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        b"POST /v1/runs/claim HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"x-workspace-id: %b\r\n%bcontent-length: %d\r\n\r\n%b"
        % (here.workspace_id.encode(), f"idempotency-key: {key}\r\n".encode() if key else b"", len(body), body)
    )
    await writer.drain()
    return writer


@pytest.mark.parametrize("key", ["", "gone"])
async def test_who_hung_up_gets_no_run(here: Site, stack: Stack, key: str) -> None:
    room = await here.room()
    waiting = [await sent(here, stack, key and f"{key}{n}", wait_s=20) for n in range(5)]
    assert await here.claim("other", wait_s=0.3) is None  # by then those wait, too
    for writer in waiting:
        writer.transport.abort()
    assert await here.claim("other", wait_s=0.3) is None
    run_id = await here.run(room)
    run = await here.claim("other", wait_s=5)
    assert run is not None
    assert (run["run_id"], run["attempt_no"]) == (run_id, 1)


async def test_a_run_made_while_who_waited_hangs_up_is_not_lost(here: Site, stack: Stack) -> None:
    room = await here.room()
    for _ in range(20):
        waiting = [await sent(here, stack, wait_s=20) for _ in range(3)]
        for writer in waiting:
            writer.transport.abort()
        run_id = await here.run(room)
        run = await here.claim("other", wait_s=10)
        assert run is not None, [event["event_type"] for event in await here.events(run_id)]
        assert run["run_id"] == run_id
        assert (await here.complete(run)).status_code == 200


async def test_a_key_whose_first_request_hung_up_waits_anew(here: Site, stack: Stack) -> None:
    room = await here.room()
    first = await sent(here, stack, "k", wait_s=20)
    again = asyncio.create_task(here.post("/v1/runs/claim", {"actor_id": "e", "wait_s": 20}, idempotency_key="k"))
    assert await here.claim("other", wait_s=0.3) is None
    first.transport.abort()
    assert await here.claim("other", wait_s=0.3) is None
    run_id = await here.run(room)
    async with asyncio.timeout(5):
        assert (await again).json()["run"]["run_id"] == run_id


async def test_a_claim_whose_reply_got_lost_is_not_lost(here: Site, stack: Stack) -> None:
    room = await here.room()
    run_id, further = await here.run(room), await here.run(room)
    writer = await sent(here, stack, "lost")
    writer.transport.abort()  # before any answer can come

    async def claimed() -> bool:
        return any(event["event_type"] == "run.claimed" for event in await here.events(run_id))

    await until(claimed)
    again = await here.done("/v1/runs/claim", {"actor_id": "e"}, idempotency_key="lost")
    assert again["run"]["run_id"] == run_id
    assert (await here.lease(again["run"], "heartbeat")).status_code == 200
    run = await here.claim()
    assert run is not None
    assert run["run_id"] == further


async def test_started_by_hand_is_never_claimed(here: Site) -> None:
    run_id = await here.run(await here.room())
    await here.done(f"/v1/runs/{run_id}/start", {})
    assert await here.claim(wait_s=0.2) is None


async def test_a_cancelled_run_is_never_claimed_and_its_holder_is_refused(here: Site) -> None:
    room = await here.room()
    queued, held = await here.run(room), await here.run(room, priority=1)
    run = await here.claim()
    assert run is not None
    assert run["run_id"] == held
    for run_id in (queued, held):
        await here.done(f"/v1/runs/{run_id}/cancel", {"reason": "no longer needed"})
    assert await here.claim() is None
    late = await here.lease(run, "heartbeat")
    assert (late.status_code, late.json()["error"]) == (409, "run_not_running")
    assert (await here.complete(run)).json()["error"] == "run_already_ended"


async def test_claim_heartbeat_and_release_over_nats(here: Site, stack: Stack) -> None:
    run_id = await here.run(await here.room())
    client = await connect(stack.nats_url, inbox_prefix="_INBOX_integration")

    async def ask(command: str, **body: Any) -> tuple[str, dict[str, Any]]:
        subject = f"agentos.cmd.{here.workspace_id}.{command}"
        reply = await client.request(subject, json.dumps({"actor_id": "e", **body}).encode(), timeout=5)
        assert reply.headers is not None
        return reply.headers["status"], json.loads(reply.data)

    try:
        status, answer = await ask("run.claim")
        assert (status, answer["run"]["run_id"]) == ("200", run_id)
        lease = {"run_id": run_id, "claim_token": answer["run"]["claim_token"]}
        assert (await ask("run.heartbeat", **lease))[1]["ok"] is True
        assert (await ask("run.heartbeat", claim_token="x"))[1]["error"] == "missing_run_id"
        assert (await ask("run.release", **lease))[1]["released"] is True
    finally:
        await client.close()
