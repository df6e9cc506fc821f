"""What a kill switch asks of runs: none begins, what runs is told to stop, and only what is seen has stopped."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import agentos
from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.engines import Site, site
from tests.fixtures.live import until
from tests.fixtures.stack import Stack, execute

PATH = "/v1/policy/kill-switch"


@pytest_asyncio.fixture
async def here(stack: Stack) -> AsyncIterator[Site]:
    async with site(stack.url) as made:
        yield made


async def engage(here: Site, scope: str = "workspace", target: str | None = None) -> None:
    await here.done(PATH, {"action": "engage", "scope": scope, "target": target, "reason": "trial"})


async def release(here: Site, scope: str = "workspace", target: str | None = None) -> None:
    await here.done(PATH, {"action": "release", "scope": scope, "target": target, "reason": "right again"})


async def stop_of(here: Site, run: dict[str, Any], **body: Any) -> str | None:
    """Why a heartbeat says that the run is to stop; None: it does not."""
    answer = await here.lease(run, "heartbeat", **body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["stop"] is (told["stop_reason"] is not None)
    reason: str | None = told["stop_reason"]
    return reason


async def told(here: Site, run: dict[str, Any], reason: str | None) -> None:
    async def so() -> bool:
        return await stop_of(here, run) == reason

    await until(so, 10)


async def stops(here: Site) -> dict[str, bool]:
    """Runs that are asked to stop, and whether they were seen to."""
    found = (await here.read(PATH))["stops"]
    seen = {run["run_id"]: run["stop_observed_at"] is not None for run in found["runs"]}
    assert (found["requested"], found["observed"]) == (len(seen), sum(seen.values()))
    return seen


async def claimed(here: Site, room_id: str, actor_id: str = "engine") -> dict[str, Any]:
    await here.run(room_id)
    run = await here.claim(actor_id, room_id=room_id)
    assert run is not None
    return run


async def called(here: Site, run: dict[str, Any], tool: str) -> str:
    """The id of a call under way."""
    token = {"claim_token": run["claim_token"]}
    step = await here.done(f"/v1/runs/{run['run_id']}/steps", {"kind": "tool", **token})
    call = await here.done(f"/v1/steps/{step['step_id']}/toolcalls", {"tool_name": tool, **token})
    return str(call["tool_call_id"])


async def test_heartbeats_tell_whom_a_switch_asks_to_stop(here: Site) -> None:
    room, other = await here.room(), await here.room()
    run, elsewhere = await claimed(here, room), await claimed(here, other, "watcher")
    call = await called(here, run, "shell")
    assert await stop_of(here, run) is None
    for scope, target, reason in (
        ("external_write", None, None),
        ("room", room, f"room {room}: trial"),
        ("agent", "watcher", None),
        ("agent", "engine", "agent engine: trial"),
        ("tool", "shell", "tool shell: trial"),
        ("tool", "mail", None),
    ):
        await engage(here, scope, target)
        if reason is not None:
            await told(here, run, reason)
            assert await stops(here) == {run["run_id"]: False}
        if (scope, target) == ("agent", "watcher"):
            await told(here, elsewhere, "agent watcher: trial")
        else:
            assert await stop_of(here, elsewhere, actor_id="watcher") is None
        assert reason is not None or await stop_of(here, run) is None
        await release(here, scope, target)
        await told(here, run, None)
    await engage(here, "tool", "shell")
    await told(here, run, "tool shell: trial")
    await here.done(f"/v1/toolcalls/{call}/succeed", {"claim_token": run["claim_token"]})
    await told(here, run, None)

    async def seen() -> bool:
        return await stops(here) == {run["run_id"]: True}

    await until(seen, 10)
    await release(here, "tool", "shell")


async def test_a_stop_is_observed_when_the_holder_says_so_or_lets_go(here: Site) -> None:
    room = await here.room()
    first, second = await claimed(here, room), await claimed(here, room)
    assert await stop_of(here, first, stopped=True) is None
    assert "run.stop_acknowledged" not in [one["event_type"] for one in await here.events(first["run_id"])]
    await engage(here)
    assert await stops(here) == {first["run_id"]: False, second["run_id"]: False}
    await told(here, first, "workspace: trial")
    for _ in range(2):
        assert await stop_of(here, first, stopped=True) == "workspace: trial"
    said = [one for one in await here.events(first["run_id"]) if one["event_type"] == "run.stop_acknowledged"]
    assert [one["data"]["attempt_no"] for one in said] == [1]

    async def one_seen() -> bool:
        return await stops(here) == {first["run_id"]: True, second["run_id"]: False}

    await until(one_seen, 10)
    assert (await here.lease(second, "release")).status_code == 200

    async def both_seen() -> bool:
        return await stops(here) == {first["run_id"]: True, second["run_id"]: True}

    await until(both_seen, 10)
    stranger = await here.lease(first, "heartbeat", stopped=True, claim_token="another")
    assert (stranger.status_code, stranger.json()["error"]) == (409, "lease_token_mismatch")
    await release(here)


@pytest.mark.parametrize("scope", ["workspace", "room", "agent"])
async def test_what_is_queued_stays_queued(here: Site, scope: str) -> None:
    room = await here.room()
    run_id = await here.run(room)
    target = {"room": room, "agent": "engine"}.get(scope)
    await engage(here, scope, target)
    assert await here.claim() is None
    if scope == "agent":
        other = await here.claim("watcher")
        assert other is not None
        assert (await here.lease(other, "release", actor_id="watcher")).status_code == 200
    else:
        refused = await here.post(f"/v1/runs/{run_id}/start", {})
        assert (refused.status_code, refused.json()["error"]) == (409, "kill_switch_active")
    waiting = asyncio.create_task(here.claim(wait_s=20))
    await release(here, scope, target)
    got = await asyncio.wait_for(waiting, 30)
    assert got is not None
    assert got["run_id"] == run_id


async def test_a_run_of_another_room_is_claimed(here: Site) -> None:
    room, other = await here.room(), await here.room()
    await here.run(room, priority=9)
    run_id = await here.run(other)
    await engage(here, "room", room)
    run = await here.claim()
    assert run is not None
    assert run["run_id"] == run_id
    assert await here.claim() is None


async def test_a_worker_ends_what_it_does_and_lets_go(stack: Stack, here: Site) -> None:
    worker = agentos.Worker("tester", url=stack.url, workspace_id=here.workspace_id, wait_s=1, grace_s=0.2)
    began, cancelled = asyncio.Event(), asyncio.Event()

    @worker.run("wait")
    async def wait(run: agentos.AsyncRunContext) -> None:
        began.set()
        try:
            await CLOCK.sleep(3600)
        finally:
            cancelled.set()

    run_id = await here.run(await here.room(), input={"handler": "wait"})
    serving = asyncio.create_task(worker.serve_async())
    await asyncio.wait_for(began.wait(), 20)
    await engage(here)
    await asyncio.wait_for(cancelled.wait(), 20)
    await here.event(run_id, "run.lease_released")

    async def seen() -> bool:
        return await stops(here) == {run_id: True}

    await until(seen, 10)
    began.clear()
    await release(here)
    await asyncio.wait_for(began.wait(), 20)
    worker.stop()
    await asyncio.wait_for(serving, 30)


async def test_an_incident_is_opened_when_a_run_is_not_seen_to_stop(stack: Stack, here: Site) -> None:
    room = await here.room()
    going, over = await claimed(here, room), await claimed(here, room)
    await engage(here)
    await told(here, going, "workspace: trial")
    assert await stop_of(here, over, stopped=True) is not None
    await told(here, over, "workspace: trial")
    await execute(
        stack.postgres_url,
        f"update eng.eng_switches set look_at = clock_timestamp() where workspace_id = '{here.workspace_id}'",
    )

    async def incidents() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await here.read("/v1/incidents"))["incidents"]
        return found

    async def opened() -> bool:
        return bool(await incidents())

    await until(opened, 20)
    (incident,) = await incidents()
    assert (incident["run_id"], incident["category"]) == (going["run_id"], "kill_switch_not_observed")
    assert (incident["severity"], incident["room_id"]) == ("high", room)
    await release(here)
