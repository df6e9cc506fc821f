"""Two API processes, two relays, two projectors: they share the work, and each takes over when the other dies."""

import asyncio
import time
from collections import Counter

from tests.faults.case import Case
from tests.faults.cluster import Cluster, Twin, leads, metric
from tests.fixtures.live import until
from tests.fixtures.stack import execute

TAKEOVER_S = 2.0
#: What the server does to a leader whose machine has vanished.
DEPOSE = """
select pg_terminate_backend(pid) from pg_stat_activity join pg_locks using (pid)
where application_name = 'agentos-api relay' and locktype = 'advisory' and granted
"""


def _leader_is_supervised(cluster: Cluster, twin: Twin) -> bool:
    first, second = leads(cluster.stack.url), leads(twin.url)
    assert first != second, "exactly one leads"
    return first


async def test_two_apis_write_to_the_same_rooms(case: Case) -> None:
    """Both append to one room as fast as they can: conflicts are theirs to settle, never a client's."""
    cluster = case.cluster
    with cluster.second_api() as twin:
        async with case.load(twin.url, rooms=1, writers=8) as load:
            await load.acked(case.operations * 2)
        tries = Counter(status for operation in load.history.operations for status in operation.tries)
        assert set(tries) == {"201", "200"}, tries
        assert sum(metric(url, "agentos_append_retries_total") or 0 for url in (cluster.stack.url, twin.url)) > 0


async def test_relay_leader_killed(case: Case) -> None:
    """The other relay takes over, and nothing is lost, doubled or reordered on the way."""
    cluster = case.cluster
    with cluster.second_api() as twin:
        async with case.load(twin.url) as load:
            supervised = _leader_is_supervised(cluster, twin)
            with load.fault():
                gone = cluster.kill("api") if supervised else None
                if gone is None:
                    twin.kill()
                heir = twin.url if supervised else cluster.stack.url
                took = await _takes_over(heir)
                if gone is not None:
                    await asyncio.to_thread(cluster.stack.wait_healthy, {"api": gone})
                else:
                    load.urls.remove(twin.url)
    case.note(f"takeover in {took:.2f} s")
    assert took < TAKEOVER_S


async def test_relay_leader_dies_in_the_middle_of_a_batch(case: Case) -> None:
    """Some of it sent and not acknowledged, some not: the heir goes on from what JetStream holds."""
    cluster = case.cluster
    pid = await asyncio.to_thread(cluster.arm, "api", f"relay.mid_batch=exit:{case.rng.randrange(2, 10)}")
    with cluster.second_api() as twin:
        assert _leader_is_supervised(cluster, twin)
        async with case.load(twin.url, calm_first=False) as load:
            with load.fault():
                await asyncio.to_thread(cluster.wait_struck, "api", pid)
        assert leads(twin.url)


async def test_relay_leader_deposed_while_it_was_paused(case: Case) -> None:
    """It wakes up believing that it leads, with messages on its way: JetStream refuses them."""
    cluster = case.cluster
    with cluster.second_api() as twin:
        async with case.load(twin.url) as load:
            assert _leader_is_supervised(cluster, twin), "it was there first"
            with load.fault():
                with cluster.paused("api"):
                    await execute(cluster.stack.postgres_url, DEPOSE)
                    took = await _takes_over(twin.url)
                    await load.acked(case.operations)
                await asyncio.to_thread(cluster.stack.wait_healthy)
            assert leads(twin.url)
    case.note(f"takeover in {took:.2f} s")
    assert took < TAKEOVER_S


async def test_api_dies_between_commit_and_publish_beside_another(case: Case) -> None:
    """What it committed is published by the other one; its clients' retries are answered by the other one."""
    cluster = case.cluster
    with cluster.second_api(f"api.after_commit=exit:{case.rng.randrange(20, 60)}") as twin:
        async with case.load(twin.url, calm_first=False) as load:
            with load.fault():
                await asyncio.to_thread(twin.process.wait, 30)
                load.urls.remove(twin.url)


async def test_leadership_goes_back_and_forth(case: Case) -> None:
    """Each leader in turn is killed while it works."""
    cluster = case.cluster
    took: list[float] = []
    async with case.load() as load:
        with load.fault():
            for _ in range(2):
                with cluster.second_api() as twin:
                    load.urls.append(twin.url)
                    gone = cluster.kill("api")
                    took.append(await _takes_over(twin.url))
                    await asyncio.to_thread(cluster.stack.wait_healthy, {"api": gone})
                    twin.kill()
                    took.append(await _takes_over(cluster.stack.url))
                    load.urls.remove(twin.url)
    case.note("takeovers in " + ", ".join(f"{seconds:.2f}" for seconds in took) + " s")
    assert max(took) < TAKEOVER_S


async def test_two_projectors_and_one_dies(case: Case) -> None:
    """Each stream is with one of them at a time, and with the other one when that dies."""
    cluster = case.cluster
    with cluster.second_projector() as twin:
        async with case.load() as load:
            with load.fault():
                gone = cluster.kill("projector")
                await asyncio.to_thread(cluster.stack.wait_healthy, {"projector": gone})
                await load.acked(case.operations)
                twin.kill()


async def _takes_over(url: str) -> float:
    """Seconds from now until the process at this address leads."""
    started = time.monotonic()

    async def leading() -> bool:
        return await asyncio.to_thread(leads, url)

    await until(leading, 30)
    return time.monotonic() - started
