"""The supervisor dies, or everything at once; and a few faults one after another, drawn by lot."""

import asyncio

from tests.faults.case import Case
from tests.faults.cluster import Cluster
from tests.faults.load import Load


async def test_supervisor_killed_and_up_again(case: Case) -> None:
    """Its children end with it; the next start finds everything."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            await asyncio.to_thread(cluster.kill_supervisor)
            await asyncio.to_thread(cluster.up)


async def test_everything_killed_at_once(case: Case) -> None:
    """As when the machine goes down, but for what was not on disk yet."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            await asyncio.to_thread(cluster.kill_everything)
            await asyncio.to_thread(cluster.up)
    await case.check_whole_store()


async def test_faults_drawn_by_lot(case: Case) -> None:
    """Several at once and in a row, without waiting for one to heal before the next."""
    cluster = case.cluster
    with cluster.second_api() as twin, cluster.second_projector():
        async with case.load(twin.url) as load:
            with load.fault():
                gone: dict[str, int] = {}
                for _ in range(6):
                    gone |= await _one_fault(case, cluster, load)
                await asyncio.to_thread(cluster.stack.wait_healthy, gone)


async def _one_fault(case: Case, cluster: Cluster, load: Load) -> dict[str, int]:
    victims = case.rng.sample(["api", "projector", "nats", "postgres"], case.rng.choice((1, 1, 2, 3)))
    wiped = "nats" in victims and case.rng.random() < 0.3
    case.note(("and " if len(victims) > 1 else "") + " and ".join(victims) + (" with its store" if wiped else ""))
    with cluster.held():
        gone = {victim: cluster.kill(victim) for victim in victims if cluster.runs(victim)}
        if wiped:
            await asyncio.to_thread(cluster.delete_jetstream)
    if case.rng.random() < 0.5:
        await load.acked(case.rng.randrange(1, 50))
    return gone
