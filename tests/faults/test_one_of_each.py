"""One process dies under load, at a random moment or at the worst one, and comes back."""

import asyncio
import time

import pytest

from tests.faults.case import Case

#: Places to die at, and after how many passings.
FAILPOINTS = {
    "api.before_commit": (10, 80),  # decided, and nothing of it may ever show
    "api.after_commit": (10, 80),  # committed, neither answered nor published
    "relay.mid_batch": (2, 10),  # some sent and not acknowledged, others not sent
    "relay.before_delete": (2, 20),  # acknowledged by JetStream, and still in the outbox
    "projector.before_commit": (5, 40),  # applied, and rolled back
    "projector.after_commit": (5, 40),  # committed, not acknowledged to JetStream
}


@pytest.mark.parametrize("component", ["api", "projector", "nats", "postgres"])
async def test_killed(case: Case, component: str) -> None:
    """At no moment in particular."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            gone = cluster.kill(component)
            await asyncio.to_thread(cluster.stack.wait_healthy, {component: gone})


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_dies_at(case: Case, failpoint: str) -> None:
    """At a named place, after it has passed it a few times."""
    cluster, component = case.cluster, "projector" if failpoint.startswith("projector") else "api"
    pid = await asyncio.to_thread(
        cluster.arm, component, f"{failpoint}=exit:{case.rng.randrange(*FAILPOINTS[failpoint])}"
    )
    async with case.load(calm_first=False) as load:
        with load.fault():
            await asyncio.to_thread(cluster.wait_struck, component, pid)


@pytest.mark.parametrize("component", ["api", "projector"])
async def test_dies_again_and_again(case: Case, component: str) -> None:
    """A few times in a row, each soon after it has come back."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            for _ in range(3):
                gone = cluster.kill(component)
                await asyncio.to_thread(cluster.stack.wait_healthy, {component: gone})


@pytest.mark.parametrize("component", ["nats", "projector"])
async def test_writes_go_on_while_it_is_away(case: Case, component: str) -> None:
    """Events wait in Postgres for as long as it takes; viewers get them all the same."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            with cluster.held():
                gone = cluster.kill(component)
                await load.acked(case.operations)
            await asyncio.to_thread(cluster.stack.wait_healthy, {component: gone})
        assert load.history.outage_s() < 2


@pytest.mark.parametrize("component", ["nats", "projector"])
async def test_paused(case: Case, component: str) -> None:
    """It hangs, which nobody is told of, and then goes on."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            with cluster.paused(component):
                await load.acked(case.operations)
            await asyncio.to_thread(cluster.stack.wait_healthy)
        assert load.history.outage_s() < 2


async def test_jetstream_store_deleted(case: Case) -> None:
    """All of JetStream is gone, with what every consumer knew: Postgres fills it again."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            with cluster.held():
                gone = cluster.kill("nats")
                await load.acked(20)
                await asyncio.to_thread(cluster.delete_jetstream)
            await asyncio.to_thread(cluster.stack.wait_healthy, {"nats": gone})
    await case.check_whole_store()


async def test_streams_resume_over_an_api_restart(case: Case) -> None:
    """Every viewer comes back by itself, with ``Last-Event-ID``, and goes on exactly where it was."""
    cluster = case.cluster
    async with case.load() as load:
        steady = load.history.transcripts[:3]
        before = [(transcript.connections, transcript.last) for transcript in steady]
        with load.fault():
            gone = cluster.kill("api")
            started = time.monotonic()
            await asyncio.to_thread(cluster.stack.wait_healthy, {"api": gone})
        await load.acked(case.operations)
        assert await load.viewed({t.room_id: last + 1 for t, (_, last) in zip(steady, before, strict=True)}, 10)
        case.note(f"streams flow again within {time.monotonic() - started:.2f} s")
        for transcript, (connections, last) in zip(steady, before, strict=True):
            assert transcript.connections > connections
            first = next(frame for frame in transcript.frames if frame.connection == transcript.connections)
            assert first.seq > last > 0
