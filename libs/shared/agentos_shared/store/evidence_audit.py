"""Verification of a run's evidence: do the events that it was made of still stand, and give the same?

Contents that are kept beside the store are named in events by their SHA-256: those of the run's artifacts are read
again.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from agentos_shared.domain.envelope import Stream
from agentos_shared.domain.evidence import differences
from agentos_shared.store import run_events
from agentos_shared.store.audit import verify_stream
from agentos_shared.store.chain import Verdict
from agentos_shared.store.reader import Connection

#: Blobs that artifacts of run $1 name, also of those that came after its end.
BLOBS: Final = """
select entity_id as artifact_id, evt_events.data -> 'content' ->> 'sha256' as sha256
from evt_events
where run_id = $1 and event_type = 'artifact.created' and evt_events.data -> 'content' -> 'blob' = 'true'
order by stream_seq
"""


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What was found out about the evidence of one run.

    Attributes:
        recorded: whether there is evidence at all.
        ended: whether the store holds the event that ended the run.
        differences: in which ways the run's events give other evidence than the recorded one, as sentences.
        chain: of the stream, from the run's first event to the one that recorded the evidence.
        blobs: how many contents beside the store were read again; None: none were looked for.
        bad_blobs: what is wrong with them, as sentences.
    """

    run_id: str
    recorded: bool
    ended: bool
    event_count: int
    differences: list[str]
    chain: Verdict | None
    evidence_id: str | None = None
    run_status: str | None = None
    manifest_hash: str | None = None
    event_hash_root: str | None = None
    blobs: int | None = None
    bad_blobs: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        found = [*self.differences, *self.bad_blobs]
        return self.recorded and not found and self.chain is not None and self.chain.valid

    def json(self) -> dict[str, Any]:
        """The members as a JSON object."""
        return {"valid": self.valid, **asdict(self)}


async def verify_evidence(connection: Connection, run_id: str, blobs: Path | None = None) -> EvidenceReport:
    """Compute a run's evidence anew in one snapshot and hold it against the recorded one; check the chain around it.

    Args:
        connection: not in a transaction.
        blobs: the directory of contents beside the store; None: they are not looked at.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        events = await run_events.read_ended_run(connection, run_id)
        recorded = await run_events.read_evidence(connection, run_id)
        if recorded is None:
            return EvidenceReport(run_id, False, bool(events), len(events), [], None)
        data = recorded.data
        first = min([event.stream_seq for event in events] + [_from_seq(data, recorded.stream_seq)])
        stream = Stream(recorded.stream_type, recorded.stream_id)
        limit = recorded.stream_seq - first + 1
        chain = await verify_stream(connection, stream, after=first - 1, limit=limit)
        named = [] if blobs is None else await connection.fetch(BLOBS, run_id)
    bad_blobs = await asyncio.to_thread(_bad, blobs, named) if blobs is not None else []
    return EvidenceReport(
        run_id,
        recorded=True,
        ended=bool(events),
        event_count=len(events),
        differences=differences(data, events),
        chain=chain,
        evidence_id=recorded.entity_id,
        run_status=data.get("run_status"),
        manifest_hash=data.get("manifest_hash"),
        event_hash_root=data.get("event_hash_root"),
        blobs=None if blobs is None else len(named),
        bad_blobs=bad_blobs,
    )


def _bad(blobs: Path, named: Sequence[Any]) -> list[str]:
    return [
        f"the content of {row['artifact_id']}, {row['sha256']}, {fault}"
        for row in named
        if (fault := _fault(blobs / str(row["sha256"]), row["sha256"]))
    ]


def _fault(path: Path, sha256: str) -> str | None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == sha256 else "is another one now"


def _from_seq(data: dict[str, Any], otherwise: int) -> int:
    """Where the recorded window begins, if the record still tells."""
    try:
        start = data["manifest"]["stream_window"]["from_seq"]
    except (KeyError, TypeError):
        return otherwise
    return start if isinstance(start, int) and 0 < start <= otherwise else otherwise
