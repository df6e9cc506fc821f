"""One case: load, a fault, healing, draining, and then all checkers over everything that clients and stack can tell."""

import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count

import asyncpg

from tests.checkers import checks
from tests.checkers.history import History, Outcome
from tests.checkers.observed import Observed, messages, observe
from tests.faults.cluster import Cluster
from tests.faults.load import Load
from tests.fixtures.live import until

DRAIN_S = 40.0
_SETTLED = """
select not exists (select from evt_outbox)
   and not exists (
       select from evt_stream_heads h left join proj.proj_checkpoints c using (stream_type, stream_id)
       where h.workspace_id = $1 and h.seq is distinct from coalesce(c.seq, 0)
   )
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run was, in a line."""

    name: str
    acknowledged: int
    retried: int
    unknown: int
    events: int
    republished: int
    connections: int
    outage_s: float
    drain_s: float
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        return (
            f"{self.name}: {self.acknowledged} acknowledged, {self.retried} after retries, "
            f"{self.unknown} unknown; {self.events} events, {self.republished} delivered again, "
            f"{self.connections} stream connections; silent {self.outage_s:.2f} s, "
            f"drained in {self.drain_s:.2f} s{notes}"
        )


class Case:
    """Runs a load against a cluster and checks what came of it.

    Args:
        operations: acknowledged writes to wait for before a fault, and after it.
    """

    def __init__(self, cluster: Cluster, name: str, seed: int, operations: int) -> None:
        self.cluster = cluster
        self.name = name
        self.seed = seed
        self.operations = operations
        self.rng = random.Random(seed)
        self.reports: list[Report] = []
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        """Something measured, for the report."""
        self._notes.append(text)

    @contextlib.asynccontextmanager
    async def load(
        self, *further_urls: str, rooms: int = 3, writers: int = 6, calm_first: bool = True
    ) -> AsyncIterator[Load]:
        """The block injects faults and waits for healing; around it clients write and watch. Then all is checked.

        Args:
            further_urls: of API processes beside the supervisor's.
            calm_first: whether operations are waited for before the block.
        """
        urls = [self.cluster.stack.url, *further_urls]
        load = Load(urls, f"ws_{next(_workspaces)}_{self.seed}", self.seed, rooms=rooms, writers=writers)
        try:
            await load.start()
            if calm_first:
                await load.acked(self.operations)
            yield load
            await load.acked(self.operations)
            await load.stop_writing()
            load.view_all_anew()
            settled = [o for o in load.history.operations if o.outcome is not Outcome.FAILED]
            await load.ask_again(self.rng.sample(settled, min(30, len(settled))))
            await self._check(load)
        except BaseException as error:
            error.add_note(f"again: FAULT_SEED={self.seed} .venv/bin/python -m pytest '{self.name}'")
            raise
        finally:
            await load.close()

    async def _check(self, load: Load) -> None:
        started = time.monotonic()
        stuck = await self._drain(load)
        drain_s = time.monotonic() - started
        stack, history = self.cluster.stack, load.history
        observed = await observe(stack.postgres_url, stack.nats_url, history.workspace_id)
        wrong = [*stuck, *checks.violations(history, observed)]
        if wrong:
            raise AssertionError(f"{self.name}, seed {self.seed}:\n" + "\n".join(wrong))
        self.reports.append(self._report(history, observed, drain_s))

    async def _drain(self, load: Load) -> list[str]:
        """Wait until nothing moves any more. Returns what did not come to rest; the checkers then tell more of it."""
        stack, workspace_id = self.cluster.stack, load.history.workspace_id
        connection = await asyncpg.connect(stack.postgres_url)
        stuck: list[str] = []
        try:

            async def settled() -> bool:
                return bool(await connection.fetchval(_SETTLED, workspace_id))

            async def published() -> bool:
                held = {(one.stream_id, one.stream_seq) for one in await messages(stack.nats_url, workspace_id)}
                return len(held) >= sum(heads.values())

            try:
                await until(settled, DRAIN_S)
            except AssertionError:
                stuck.append(f"outbox or projections are not at rest after {DRAIN_S} s")
            rows = await connection.fetch(
                "select stream_id, seq from evt_stream_heads where workspace_id = $1", workspace_id
            )
            heads = {str(row["stream_id"]): int(row["seq"]) for row in rows}
            if not await load.viewed(heads, DRAIN_S):
                stuck.append(f"some viewers have not come to the head after {DRAIN_S} s")
            try:
                await until(published, DRAIN_S)
            except AssertionError:
                stuck.append(f"JetStream has not got all after {DRAIN_S} s")
        finally:
            await connection.close(timeout=5)
        return stuck

    async def check_whole_store(self) -> None:
        """Whatever earlier cases wrote is still as it should be, in all places."""
        stack = self.cluster.stack

        async def filled() -> bool:
            held = {(one.stream_id, one.stream_seq) for one in await messages(stack.nats_url)}
            return len(held) >= len(observed.events)

        observed = await observe(stack.postgres_url, stack.nats_url)
        await until(filled, DRAIN_S)
        observed.messages = await messages(stack.nats_url)
        wrong = checks.violations(History(""), observed, checks.OF_THE_STORE)
        assert not wrong, "\n".join(wrong)

    def _report(self, history: History, observed: Observed, drain_s: float) -> Report:
        acknowledged = history.acknowledged()
        return Report(
            name=self.name.rsplit("::")[-1].removeprefix("test_"),
            acknowledged=len(acknowledged),
            retried=sum(not operation.smooth for operation in acknowledged),
            unknown=sum(operation.outcome is Outcome.UNKNOWN for operation in history.operations),
            events=len(observed.events),
            republished=len(observed.messages) - len(observed.events),
            connections=sum(transcript.connections for transcript in history.transcripts),
            outage_s=history.outage_s(),
            drain_s=drain_s,
            notes=self._notes,
        )


_workspaces = count(1)
