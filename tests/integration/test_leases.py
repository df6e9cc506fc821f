"""Leases against a whole stack: they end in time, they outlive the engine service, and an old one never writes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest_asyncio

from tests.fixtures.engines import Site, site
from tests.fixtures.live import until
from tests.fixtures.stack import Stack, execute

SHORTEST_S = 5


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest_asyncio.fixture
async def here(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack.url) as made:
        yield made


async def test_an_engine_that_slept_past_its_lease_cannot_write_any_more(here: Site) -> None:
    run_id = await here.run(await here.room())
    run = await here.claim(lease_ttl_s=SHORTEST_S)
    assert run is not None
    step = (await here.done(f"/v1/runs/{run_id}/steps", {"kind": "work", "claim_token": run["claim_token"]}))["step_id"]
    expired = await here.event(run_id, "run.lease_expired", SHORTEST_S + 3)
    late_s = (when(expired["recorded_at"]) - when(run["lease_expires_at"])).total_seconds()
    assert -0.2 < late_s < 1
    assert (await here.lease(run, "heartbeat")).json()["error"] == "lease_expired"
    assert (await here.complete(run)).json()["error"] == "lease_token_mismatch"
    after = await here.claim("another")
    assert after is not None
    assert (after["run_id"], after["fencing_token"]) == (run_id, run["fencing_token"] + 1)
    for path, body in (
        (f"/v1/runs/{run_id}/steps", {"kind": "late"}),
        (f"/v1/steps/{step}/toolcalls", {"tool_name": "late"}),
        (f"/v1/steps/{step}/artifacts", {"kind": "late"}),
        (f"/v1/steps/{step}/complete", {}),
        (f"/v1/runs/{run_id}/complete", {}),
        (f"/v1/runs/{run_id}/fail", {}),
        (f"/v1/runs/{run_id}/lease/heartbeat", {"actor_id": "engine"}),
    ):
        refused = await here.post(path, {**body, "claim_token": run["claim_token"]})
        assert (refused.status_code, refused.json()["error"]) == (409, "lease_token_mismatch"), path
    assert (await here.lease(run, "release")).json()["error"] == "lease_token_mismatch"
    assert (await here.complete(after)).status_code == 200


async def test_heartbeats_keep_a_lease_beyond_its_time(here: Site) -> None:
    run_id = await here.run(await here.room())
    run = await here.claim(lease_ttl_s=SHORTEST_S)
    assert run is not None
    loop = asyncio.get_running_loop()
    until_s = loop.time() + SHORTEST_S + 2
    pause = asyncio.Event()
    while loop.time() < until_s:
        beat = await here.lease(run, "heartbeat")
        assert beat.status_code == 200
        left = when(beat.json()["lease_expires_at"]) - when(beat.json()["lease_heartbeat_at"])
        assert left.total_seconds() == SHORTEST_S
        await asyncio.wait([asyncio.create_task(pause.wait())], timeout=1)
        pause.set()
        pause = asyncio.Event()
    assert [event["event_type"] for event in await here.events(run_id)].count("run.lease_expired") == 0
    assert (await here.complete(run)).status_code == 200


async def test_the_last_attempt_fails_the_run_and_opens_an_incident(here: Site) -> None:
    run_id = await here.run(await here.room(), max_attempts=1)
    assert await here.claim(lease_ttl_s=SHORTEST_S) is not None
    failed = await here.event(run_id, "run.failed", SHORTEST_S + 3)
    assert failed["data"]["error"] == {"code": "attempts_exhausted"}
    assert [event["event_type"] for event in await here.events(run_id)][-2:].count("run.failed") <= 1
    await here.event(run_id, "evidence.manifest.created")
    incident = await here.event(run_id, "incident.opened")
    assert (incident["data"]["category"], incident["data"]["severity"]) == ("run_failed", "high")
    listed = (await here.read("/v1/incidents", status="open"))["incidents"]
    assert [found["run_id"] for found in listed] == [run_id]
    assert await here.claim() is None


async def test_an_attempt_that_takes_too_long_fails_the_run(here: Site) -> None:
    room = await here.room()
    run_id = await here.run(room, timeout_s=1)
    run = await here.claim()
    assert run is not None
    by_hand = await here.run(room, timeout_s=1)
    await here.done(f"/v1/runs/{by_hand}/start", {})
    for late in (run_id, by_hand):
        failed = await here.event(late, "run.failed", 5)
        assert failed["data"]["error"] == {"code": "run_timeout"}
    assert (await here.lease(run, "heartbeat")).json()["error"] == "run_not_running"


async def test_leases_outlive_the_engine_service(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    async with site(stack.url) as here:
        room = await here.room()
        await asyncio.gather(*(here.run(room) for _ in range(51)))
        runs = [run for run in await asyncio.gather(*(here.claim() for _ in range(50))) if run is not None]
        assert len(runs) == 50
        gone = stack.kill("engine")
        away = await here.post("/v1/runs/claim", {"actor_id": "e"})
        assert away.status_code in (200, 503)
        if away.status_code == 503:
            assert away.json()["error"] == "engine_unavailable"
            assert int(away.headers["retry-after"]) > 0
        await asyncio.to_thread(stack.wait_healthy, {"engine": gone})
        beats = await asyncio.gather(*(here.lease(run, "heartbeat") for run in runs))
        assert [beat.status_code for beat in beats] == [200] * 50
        # The one that was free still is, and no lease was given twice.
        rest = [run for run in await asyncio.gather(*(here.claim() for _ in range(5))) if run is not None]
        assert len(rest) == (away.status_code == 503 or away.json()["run"] is None)
        assert not {run["run_id"] for run in rest} & {run["run_id"] for run in runs}
        ends = await asyncio.gather(*(here.complete(run) for run in runs))
        assert [end.status_code for end in ends] == [200] * 50


async def test_a_heartbeat_that_nobody_answers_says_so_well_before_the_lease_ends(
    start_stack: Callable[..., Stack],
) -> None:
    stack = start_stack()
    async with site(stack.url) as here:
        await here.run(await here.room())
        run = await here.claim()
        assert run is not None
        process = stack.pid("engine")
        os.kill(process, signal.SIGSTOP)
        try:
            async with asyncio.timeout(SHORTEST_S - 1):
                beat = await here.lease(run, "heartbeat")
        finally:
            os.kill(process, signal.SIGCONT)
        assert (beat.status_code, beat.json()["error"], beat.headers["retry-after"]) == (503, "engine_unavailable", "1")
        assert (await here.lease(run, "heartbeat")).status_code == 200


async def test_a_heartbeat_takes_what_the_claim_took(here: Site) -> None:
    await here.run(await here.room())
    one, other = [await here.done("/v1/engines/register", {"actor_id": name}) for name in ("one", "other")]

    def proof(registered: dict[str, Any]) -> dict[str, str]:
        token = registered["token"]
        return {"x_engine_id": token["engine_id"], "x_engine_token": token["engine_token"]}

    run = (await here.done("/v1/runs/claim", {}, **proof(one)))["run"]
    path, body = f"/v1/runs/{run['run_id']}/lease/heartbeat", {"claim_token": run["claim_token"]}
    stranger = await here.post(path, body, **proof(other))
    assert (stranger.status_code, stranger.json()["error"]) == (409, "lease_token_mismatch")
    nobody = await here.post(path, body)
    assert (nobody.status_code, nobody.json()["error"]) == (401, "missing_engine_token")
    assert (await here.post(path, body, **proof(one))).status_code == 200
    assert (await here.post(path, {**body, "actor_id": "one"})).status_code == 200
    assert (await here.complete(run)).status_code == 200


async def test_lost_tables_are_made_anew_with_one_fresh_ttl_for_open_leases(
    start_stack: Callable[..., Stack],
) -> None:
    stack = start_stack()
    async with site(stack.url) as here:
        room = await here.room()
        held, queued, ended = [await here.run(room) for _ in range(3)]
        run = await here.claim(lease_ttl_s=60)
        assert run is not None
        assert run["run_id"] == held
        await here.done(f"/v1/runs/{ended}/complete", {})
        gone = stack.kill("engine")
        await execute(
            stack.postgres_url, "drop view eng.eng_leases_public", "drop table eng.eng_runs, eng.eng_definition"
        )
        await asyncio.to_thread(stack.wait_healthy, {"engine": gone})
        anew = await here.claim("another")
        assert anew is not None
        assert anew["run_id"] == queued
        assert await here.claim("another") is None
        beat = await here.lease(run, "heartbeat")
        assert beat.status_code == 200
        assert when(beat.json()["lease_expires_at"]) > when(run["lease_expires_at"])
        assert (await here.complete(run)).status_code == 200


async def test_without_nats_claims_say_so_and_releases_work(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    async with site(stack.url) as here:
        run_id = await here.run(await here.room())
        run = await here.claim()
        assert run is not None
        stack.kill("nats")

        async def refused() -> bool:
            answer = await here.post("/v1/runs/claim", {"actor_id": "e"})
            return answer.status_code == 503 and answer.json()["error"] == "engine_unavailable"

        await until(refused, 5)
        assert (await here.lease(run, "release")).json()["released"] is True
        again: list[str] = []

        async def claimed() -> bool:
            answer = await here.post("/v1/runs/claim", {"actor_id": "e", "wait_s": 1})
            if answer.status_code == 200 and answer.json()["claimed"]:
                again.append(answer.json()["run"]["run_id"])
            return bool(again)

        await until(claimed, 30)
        assert again == [run_id]


async def test_a_claim_that_waits_outlives_the_engine_service(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    async with site(stack.url) as here:
        room = await here.room()
        began = asyncio.get_running_loop().time()
        waiting = [asyncio.create_task(here.post("/v1/runs/claim", {"actor_id": "e", "wait_s": 30})) for _ in range(3)]
        await asyncio.wait(waiting, timeout=0.5)
        gone = stack.kill("engine")
        await asyncio.to_thread(stack.wait_healthy, {"engine": gone})
        run_id = await here.run(room)
        answers = []
        for task in asyncio.as_completed(waiting):
            answer = await task
            answers.append(answer.json()["run"]["run_id"] if answer.status_code == 200 else answer.json()["error"])
            if answers[-1] == run_id or len(answers) == 3:
                break
        # Asked again of the service that came back, or told so at once: nobody waits for one that is gone.
        assert set(answers) <= {run_id, "engine_unavailable"}
        assert asyncio.get_running_loop().time() - began < 25
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
