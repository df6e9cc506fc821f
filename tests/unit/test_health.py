"""Health: named checks, side by side, bounded in time."""

import asyncio
import json

from agentos_shared.host.health import Health, Unwell


async def well() -> None:
    return


async def unreachable() -> None:
    raise OSError("cannot reach nats://api:hunter2@127.0.0.1:4222")


async def silent() -> None:
    await asyncio.Event().wait()


async def test_all_is_well() -> None:
    health = Health("api")
    health.add("postgres", well)
    report = await health.ready()
    assert (report.status, report.ok, report.detail) == (200, True, None)
    body = json.loads(report.json())
    assert (body["ok"], body["service"]) == (True, "api")
    assert body["checks"]["postgres"]["ok"] is True
    assert json.loads(report.brief()) == {"ok": True, "detail": None}


async def test_a_failed_check_is_named_without_its_password() -> None:
    health = Health("api")
    health.add("postgres", well)
    health.add("nats", unreachable)
    report = await health.ready()
    assert report.status == 503
    assert report.detail == "nats: OSError: cannot reach nats://api:***@127.0.0.1:4222"
    assert json.loads(report.brief())["ok"] is False


async def test_a_silent_check_is_given_up() -> None:
    health = Health("api")
    health.add("projector", silent, timeout_s=0.02)
    report = await asyncio.wait_for(health.ready(), 1)
    assert report.detail == "projector: no answer within 0.02 s"


async def test_what_is_not_required_is_only_told() -> None:
    async def behind() -> None:
        raise Unwell("12 events behind")

    health = Health("api")
    health.add("lag", behind, required=False)
    report = await health.ready()
    assert (report.status, report.detail) == (200, "lag: 12 events behind")


async def test_draining_is_not_ready_but_alive() -> None:
    health = Health("api")
    health.add("postgres", well)
    health.drain()
    report = await health.ready()
    assert (report.status, report.detail) == (503, "draining: shutting down")
    assert health.live().status == 200


async def test_questions_at_once_share_one_answer() -> None:
    asked = 0
    go = asyncio.Event()

    async def probe() -> None:
        nonlocal asked
        asked += 1
        await go.wait()

    health = Health("api")
    health.add("postgres", probe)
    first = asyncio.create_task(health.ready())
    second = asyncio.create_task(health.ready())
    third = asyncio.create_task(health.ready())
    await asyncio.wait([first], timeout=0)
    first.cancel()
    go.set()
    assert (await second).ok
    assert (await third).ok
    assert asked == 1
    assert (await health.ready()).ok
    assert asked == 2
