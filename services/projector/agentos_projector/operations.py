"""What an operator may ask of the projections: how they are, and to try parked streams again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.projections.projection import Projection, fingerprint
from agentos_shared.bus.consumer import Consumer, Limits, ParkedStream
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.host.lifecycle import CLOCK, RNG, Clock, Rng
from agentos_shared.store.checkpoints import Checkpoints, ConnectionStore, Parked
from agentos_shared.store.reader import Connection

MAX_RETRIED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Status:
    """How the projections stand.

    Attributes:
        current: the tables were made from this program's definitions; else the projector rebuilds them at its start.
        streams, events: in the store.
        behind_streams, behind_events: not yet applied, parked ones left out.
        oldest_waiting: when the oldest event that waits was recorded.
        rows: per table, counted.
        parked: streams that stopped, longest first.
    """

    current: bool
    streams: int
    events: int
    behind_streams: int
    behind_events: int
    oldest_waiting: datetime | None
    rows: dict[str, int]
    parked: list[Parked]


@dataclass(frozen=True, slots=True)
class Retried:
    """A retry of parked streams: those that go on, and those that stopped again."""

    resumed: list[StreamKey]
    parked: list[ParkedStream]


async def status(connection: Connection, projections: Sequence[Projection] = PROJECTIONS) -> Status:
    """How the projections stand. Needs to read ``evt_*`` and schema ``proj``; works before the projector ever ran."""
    names = [
        f"{tables.PREFIX}_checkpoints",
        f"{tables.PREFIX}_parked",
        "proj_definition",
        *(p.table for p in projections),
    ]
    missing = {row["name"] for row in await connection.fetch(tables.SQL["missing_tables"], names)}
    head = await connection.fetchrow(tables.SQL["heads"])
    assert head is not None
    if missing & set(names[:3]):
        return Status(False, head["streams"], head["events"], head["streams"], head["events"], None, {}, [])
    behind = await connection.fetchrow(tables.SQL["behind"])
    assert behind is not None
    known = await connection.fetchval(tables.SQL["read_fingerprint"])
    rows = {
        projection.table: await connection.fetchval(f"select count(*) from proj.{projection.table}")  # noqa: S608
        for projection in projections
        if projection.table not in missing
    }
    return Status(
        current=known == fingerprint(projections) and not missing,
        streams=head["streams"],
        events=head["events"],
        behind_streams=behind["streams"],
        behind_events=behind["events"],
        oldest_waiting=behind["oldest"],
        rows=rows,
        parked=await Checkpoints(tables.PREFIX).list_parked(connection),
    )


async def retry(
    connection: Connection,
    streams: Sequence[StreamKey] | None = None,
    *,
    projections: Sequence[Projection] = PROJECTIONS,
    clock: Clock = CLOCK,
    rng: Rng = RNG,
) -> Retried:
    """Try parked streams again, from the event that stopped them up to their heads, here and now.

    Args:
        connection: from :func:`agentos_projector.tables.open_session`. The projector may run meanwhile.
        streams: which; None for all (at most 100,000 at a time).
    """
    parked = [stopped.key for stopped in await Checkpoints(tables.PREFIX).list_parked(connection, MAX_RETRIED)]
    chosen = parked if streams is None else [key for key in streams if key in set(parked)]
    consumer = Consumer(
        "projector_retry",
        store=ConnectionStore(connection, tables.PREFIX),
        bus=_Nobody(),
        clock=clock,
        rng=rng,
        effects=Applier(projections),
        limits=Limits(patience_s=10.0),
    )
    again = await consumer.retry_parked(chosen)
    stopped = {one.key for one in again}
    return Retried([key for key in chosen if key not in stopped], again)


class _Nobody:
    """A bus without listeners: readers that wait look by themselves."""

    attached = True

    async def moved(self, done: Sequence[Range]) -> None:
        return
