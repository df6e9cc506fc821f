"""From events to rows of ``eng_runs``: what the consumer does inside its transaction.

The last event that changes a run's state decides its row, so that a batch costs one read and one write however many
events and runs are in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import asyncpg
import orjson

from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.store import statements
from agentos_shared.store.checkpoints import PoolStore
from agentos_shared.store.reader import Connection

_TEXTS: Final = statements.load("agentos_engine", "runs.sql")
_FIELDS: Final = "\n".join(line for line in _TEXTS["fields"].splitlines() if not line.startswith("--"))
SQL: Final = {name: text.replace("{fields}", _FIELDS) for name, text in _TEXTS.items() if name != "fields"}
#: Events that are read along with their claim.
FEW: Final = 2000

#: A row of the statement ``read``.
Row: TypeAlias = Mapping[str, Any] | asyncpg.Record

EVIDENCE: Final = "evidence"
INCIDENT: Final = "incident"
#: What follows from the end of a run.
_ENDS: Final[Mapping[str, tuple[str, ...]]] = {
    "run.completed": (EVIDENCE,),
    "run.failed": (EVIDENCE, INCIDENT),
    "run.cancelled": (EVIDENCE,),
}


#: After these an approval is on hold, or is not.
MOVES_HOLD: Final = frozenset(
    {"approval.decided", "approval.resumed", "approval.expired", "approval.cancelled", "approval.superseded"}
)


def incident_key(workspace_id: str, run_id: str) -> str:
    """Under which a failed run's incident is opened, once."""
    return f"incident:run_failed:{workspace_id}:{run_id}"


@dataclass(slots=True)
class Change:
    """What some events make of one run.

    Attributes:
        version: of the run's last event; None when none of the events was the run's own.
        created: its ``run.created``, when that is among them.
        last: the last event that decides the state; None when none did.
        started: a ``run.started`` came after ``last``.
        ended: what ended it.
        done: follow-ups that have been done.
        acknowledged: a ``run.stop_acknowledged`` came after ``last``.
    """

    workspace_id: str
    version: int | None = None
    created: Row | None = None
    last: Row | None = None
    started: bool = False
    ended: str | None = None
    done: list[str] = field(default_factory=list)
    acknowledged: bool = False

    @property
    def state(self) -> str:
        """Of the row, where ``last`` decides it."""
        assert self.last is not None
        if self.last["event_type"] == "run.claimed":
            return "held"
        return "started" if self.started else "queued"


def fold(rows: Iterable[Row]) -> dict[str, Change]:
    """What rows of the statement ``read`` make of each run."""
    changes: dict[str, Change] = {}
    for row in rows:
        if row["entity_type"] in ("kill_switch", "approval"):
            continue
        change = changes.get(row["run_id"])
        if change is None:
            change = changes[row["run_id"]] = Change(row["workspace_id"])
        kind = row["event_type"]
        if row["entity_type"] == "run":
            change.version = row["entity_version"]
        if kind == "run.created":
            change.created = change.last = row
        elif kind in ("run.claimed", "run.lease_released", "run.lease_expired"):
            change.last, change.started, change.acknowledged = row, False, False
        elif kind == "run.started":
            change.started = True
        elif kind == "run.stop_acknowledged":
            change.acknowledged = True
        elif kind in _ENDS:
            change.ended = kind
        elif kind == "evidence.manifest.created":
            change.done.append(EVIDENCE)
        elif kind == "incident.opened" and row["idempotency_key"] == incident_key(row["workspace_id"], row["run_id"]):
            change.done.append(INCIDENT)
    return changes


class RunStore(PoolStore):
    """Checkpoints and rows of runs in as few round trips as there can be: claims of engines wait for them.

    The consumer uses it for one transaction at a time.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", prefix: str) -> None:
        super().__init__(pool, prefix)
        self._read: tuple[list[Range], list[asyncpg.Record]] | None = None
        self._advanced: Sequence[Range] | None = None
        #: Workspaces whose kill switches changed in the transaction before this.
        self.switched: set[str] = set()
        #: Workspaces in which an approval came off its hold in the transaction before this.
        self.unheld: set[str] = set()

    async def claim(self, connection: Connection, wanted: Sequence[Range], *, parked_too: bool = False) -> list[Range]:
        """As every consumer's, and reads the events of the claimed ranges when they are few."""
        rows = await connection.fetch(
            SQL["claim_and_read"],
            [w.key.stream_type for w in wanted],
            [w.key.stream_id for w in wanted],
            [w.upto for w in wanted],
            parked_too,
            FEW,
        )
        ranges = list(
            dict.fromkeys(
                Range(StreamKey(row["stream_type"], row["stream_id"]), row["after"], row["upto"]) for row in rows
            )
        )
        few = sum(r.events for r in ranges) <= FEW
        self._read = (ranges, [row for row in rows if row["event_type"] is not None]) if few else None
        self._advanced = None
        return ranges

    async def apply(self, connection: Connection, ranges: Sequence[Range]) -> dict[str, Change]:
        """Apply the events of these ranges within the connection's transaction, and say what they did."""
        read, self._read = self._read, None
        if read is not None and set(read[0]) == set(ranges):
            rows = read[1]
        else:
            rows = await connection.fetch(SQL["read"], *_columns(ranges))
        changes, switches, held = fold(rows), _switches(rows), holds(rows)
        self.unheld = {workspace_id for workspace_id, _, _, on_hold in held if not on_hold}
        if held:
            await connection.execute(SQL["hold"], *_transposed([one[1:] for one in held], 3))
        self.switched = {workspace_id for workspace_id, _, _ in switches}
        if switches:
            await connection.execute(SQL["switch"], *_transposed(list(switches.values()), 6))
        if changes:
            advanced = await connection.fetchval(SQL["write"], *_arguments(changes), *_columns(ranges))
            if advanced != len(ranges):
                raise asyncpg.exceptions.SerializationError("a checkpoint moved under its lock")
            self._advanced = ranges
        return changes

    async def advance(self, connection: Connection, done: Sequence[Range]) -> None:
        """As every consumer's, unless the write has done it already."""
        if self._advanced is not done:
            await super().advance(connection, done)


def _arguments(changes: Mapping[str, Change]) -> list[Sequence[Any]]:
    ended = [run_id for run_id, change in changes.items() if change.ended]
    alive = {run_id: change for run_id, change in changes.items() if not change.ended and change.version is not None}
    made = [_made(run_id, change, change.created) for run_id, change in alive.items() if change.created is not None]
    known = {run_id: change for run_id, change in alive.items() if change.created is None}
    changed = [_state(run_id, change) for run_id, change in known.items() if change.last is not None]
    moved = [
        (run_id, change.version, change.started, change.acknowledged)
        for run_id, change in known.items()
        if change.last is None
    ]
    done = [(run_id, kind) for run_id, change in changes.items() for kind in change.done]
    due = [
        (run_id, kind, change.workspace_id)
        for run_id, change in changes.items()
        for kind in _ENDS.get(change.ended or "", ())
        if kind not in change.done
    ]
    return [
        ended,
        *_transposed(made, 17),
        *_transposed(changed, 10),
        *_transposed(moved, 4),
        *_transposed(done, 2),
        *_transposed(due, 3),
    ]


def _made(run_id: str, change: Change, created: Row) -> tuple[Any, ...]:
    _, version, state, attempt_no, claim_token, claim_key, expired, lease_ttl_s, holder, acknowledged = _state(
        run_id, change
    )
    return (
        run_id,
        change.workspace_id,
        created["room_id"],
        created["handler"],
        _json_array(created["tags"] or ()),
        created["priority"] or 0,
        created["event_id"],
        created["timeout_s"],
        version,
        state,
        attempt_no or 0,
        claim_token,
        claim_key,
        expired,
        lease_ttl_s,
        holder,
        acknowledged,
    )


def _state(run_id: str, change: Change) -> tuple[Any, ...]:
    last = change.last
    assert last is not None
    held = change.state == "held"
    return (
        run_id,
        change.version,
        change.state,
        last["attempt_no"],
        last["claim_token"],
        last["idempotency_key"] if held else None,
        last["event_type"] == "run.lease_expired",
        last["lease_ttl_s"],
        _json_array((last["holder"], last["holder_principal_id"]) if held else ()),
        change.acknowledged,
    )


def holds(rows: Iterable[Row]) -> list[tuple[str, str, str, bool]]:
    """Workspace, approval and run of the approvals that were put on hold or came off it, and which: the last counts."""
    found: dict[str, tuple[str, str, str, bool]] = {}
    for row in rows:
        if row["event_type"] in MOVES_HOLD:
            found[row["entity_id"]] = (row["workspace_id"], row["entity_id"], row["run_id"], row["decision"] == "hold")
    return list(found.values())


def _switches(rows: Iterable[Row]) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """Kill switches as the last event of each leaves them: parameters of the statement ``switch``, by their key."""
    found: dict[tuple[str, str, str], tuple[Any, ...]] = {}
    for row in rows:
        if row["entity_type"] == "kill_switch":
            key = row["workspace_id"], row["scope"], row["target"] or ""
            since = row["recorded_at"] if row["event_type"] == "kill_switch.engaged" else None
            found[key] = (*key, row["event_id"], row["reason"], since)
    return found


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(width)]


def _json_array(tags: Iterable[str]) -> str:
    return orjson.dumps(list(tags)).decode()


def _columns(ranges: Sequence[Range]) -> tuple[list[str], list[str], list[int], list[int]]:
    return (
        [r.key.stream_type for r in ranges],
        [r.key.stream_id for r in ranges],
        [r.after for r in ranges],
        [r.upto for r in ranges],
    )
