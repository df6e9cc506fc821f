"""Verification of a run's evidence: do the events that it was made of still stand, and give the same?"""

from dataclasses import asdict, dataclass
from typing import Any

from agentos_shared.domain.envelope import Stream
from agentos_shared.domain.evidence import differences
from agentos_shared.store import run_events
from agentos_shared.store.audit import verify_stream
from agentos_shared.store.chain import Verdict
from agentos_shared.store.reader import Connection


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What was found out about the evidence of one run.

    Attributes:
        recorded: whether there is evidence at all.
        ended: whether the store holds the event that ended the run.
        differences: in which ways the run's events give other evidence than the recorded one, as sentences.
        chain: of the stream, from the run's first event to the one that recorded the evidence.
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

    @property
    def valid(self) -> bool:
        return self.recorded and not self.differences and self.chain is not None and self.chain.valid

    def json(self) -> dict[str, Any]:
        """The members as a JSON object."""
        return {"valid": self.valid, **asdict(self)}


async def verify_evidence(connection: Connection, run_id: str) -> EvidenceReport:
    """Compute a run's evidence anew in one snapshot and hold it against the recorded one; check the chain around it.

    Args:
        connection: not in a transaction.
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
    )


def _from_seq(data: dict[str, Any], otherwise: int) -> int:
    """Where the recorded window begins, if the record still tells."""
    try:
        start = data["manifest"]["stream_window"]["from_seq"]
    except (KeyError, TypeError):
        return otherwise
    return start if isinstance(start, int) and 0 < start <= otherwise else otherwise
