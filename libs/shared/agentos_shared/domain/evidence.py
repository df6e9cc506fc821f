"""Evidence: what a run did, in one manifest that can be recomputed from the run's events at any time.

The manifest is a pure function of the run's events up to the one that ended it. Since these never change, whoever
computes it gets the same one, and a stored one that differs from it proves that somebody changed one of the two.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from agentos_shared.domain import ids
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream, StreamType, timestamp
from agentos_shared.domain.errors import Conflict, NotFound
from agentos_shared.domain.runs import Run

SCHEMA_VERSION: Final = 1
#: Events, and ids of one kind, that a manifest lists; of more than these it gives only the number and the root.
MAX_LISTED: Final = 1_000
#: How a run can end, by the event that ends it.
ENDS: Final = {"run.completed": "succeeded", "run.failed": "failed", "run.cancelled": "cancelled"}
_TOOL_CALL_ENDS: Final = frozenset({"tool.succeeded", "tool.failed"})


class RunEvent(NamedTuple):
    """An event of a run, as far as a manifest tells of it."""

    event_id: str
    event_type: str
    occurred_at: datetime
    recorded_at: datetime
    workspace_id: str
    room_id: str | None
    thread_id: str | None
    run_id: str
    stream_type: StreamType
    stream_id: str
    stream_seq: int
    entity_type: str
    entity_id: str
    correlation_id: str
    event_hash: str


class FinalizeEvidence(CommandBody):
    """Makes the manifest of a run that has ended. A run has one; asking again gives the same."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run's manifest, with its place: all that is asked of evidence."""

    run_id: str
    stream_seq: int
    row: Mapping[str, Any]


def evidence_id(run_id: str) -> str:
    """The id of a run's evidence: a run has one."""
    return ids.derived_id(ids.EVIDENCE, run_id)


def manifest(events: Sequence[RunEvent]) -> dict[str, Any]:
    """What a run did.

    Args:
        events: all of the run's, in stream order, up to the one that ended it.
    """
    first, last = events[0], events[-1]
    steps, calls, artifacts = created = [
        [event.entity_id for event in events if event.event_type == kind]
        for kind in ("step.created", "tool.invoked", "artifact.created")
    ]
    ended = {event.entity_id for event in events if event.event_type in _TOOL_CALL_ENDS}
    events_omitted = len(events) > MAX_LISTED
    return {
        "schema_version": SCHEMA_VERSION,
        "evidence_id": evidence_id(first.run_id),
        "workspace_id": first.workspace_id,
        "run_id": first.run_id,
        "room_id": first.room_id,
        "thread_id": first.thread_id,
        "correlation_id": first.correlation_id,
        "run_status": ENDS.get(last.event_type),
        "stream_window": {
            "stream_type": first.stream_type,
            "stream_id": first.stream_id,
            "from_seq": first.stream_seq,
            "to_seq": last.stream_seq,
            "event_count": len(events),
        },
        "pointers": {
            "step_ids": _listed(steps),
            "tool_call_ids": _listed(calls),
            "artifact_ids": _listed(artifacts),
            "ids_omitted": any(len(found) > MAX_LISTED for found in created),
            "events": None if events_omitted else [_pointer(event) for event in events],
            "events_omitted": events_omitted,
        },
        "completeness": {
            "terminal_event_present": last.event_type in ENDS,
            "all_toolcalls_terminal": ended.issuperset(calls),
            "step_count": len(steps),
            "tool_call_count": len(calls),
            "artifact_count": len(artifacts),
        },
        "event_hash_root": hash_root(events),
        "generated_at": timestamp(last.recorded_at),
    }


def _listed(found: list[str]) -> list[str] | None:
    return found if len(found) <= MAX_LISTED else None


def _pointer(event: RunEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "occurred_at": timestamp(event.occurred_at),
        "stream_seq": event.stream_seq,
        "event_hash": event.event_hash,
    }


def hash_root(events: Iterable[RunEvent]) -> str:
    """``sha256:`` and the hex digest over the events' hashes, one a line."""
    return "sha256:" + hashlib.sha256("\n".join(event.event_hash for event in events).encode()).hexdigest()


def manifest_hash(of: Mapping[str, Any]) -> str:
    """``sha256:`` and the hex digest over the manifest's canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(of)).hexdigest()


def finalize(command: Command[FinalizeEvidence], view: View) -> list[NewEvent]:
    """``evidence.manifest.created``; nothing when the run has its manifest already.

    The command names the run; ``command.loaded`` holds its events up to its end, none while it has not ended. The id of
    the evidence follows from the run's, so that of two at once one finds the other's.

    Raises:
        NotFound: ``run_not_found``.
        Conflict: ``run_not_ended``.
    """
    run_id = command.entity_id
    made_id = evidence_id(run_id)
    run = view.get(Run, run_id)
    if run is None:
        raise NotFound("run_not_found", "There is no such run in this workspace.")
    if view.get(Evidence, made_id) is not None:
        return []
    events: Sequence[RunEvent] = command.loaded or ()
    if not events:
        raise Conflict("run_not_ended", "A run has its evidence once it has ended.")
    expect_version(command, view)
    made = manifest(events)
    first, meta = events[0], command.meta
    return [
        NewEvent(
            event_type="evidence.manifest.created",
            stream=Stream(first.stream_type, first.stream_id),
            workspace_id=meta.workspace_id,
            entity_type="evidence",
            entity_id=made_id,
            mission_id=run.mission_id,
            room_id=first.room_id,
            thread_id=first.thread_id,
            run_id=run_id,
            actor=meta.actor,
            zone=run.zone,
            correlation_id=first.correlation_id,
            causation_id=events[-1].event_id,
            idempotency_key=f"evidence_manifest:{run_id}",
            data={
                "evidence_id": made_id,
                "run_id": run_id,
                "run_status": made["run_status"],
                "manifest": made,
                "manifest_hash": manifest_hash(made),
                "event_hash_root": made["event_hash_root"],
            },
        )
    ]


def evolve(state: Evidence | None, event: Event) -> Evidence | None:
    """Fold one event of evidence."""
    if event.event_type == "evidence.manifest.created" and event.run_id is not None:
        return Evidence(event.run_id, event.stream_seq, row(event))
    return state


def row(event: Event) -> dict[str, Any]:
    """The evidence that an ``evidence.manifest.created`` tells of, as readers get it."""
    data, moment = event.data, timestamp(event.recorded_at)
    told = data.get("manifest") or {}  # redacted, it may be gone
    window = told.get("stream_window") or {}
    return {
        "evidence_id": event.entity_id,
        "workspace_id": event.workspace_id,
        "run_id": event.run_id,
        "room_id": event.room_id,
        "thread_id": event.thread_id,
        "correlation_id": event.correlation_id,
        "run_status": data.get("run_status"),
        "manifest": told,
        "manifest_hash": data.get("manifest_hash"),
        "event_hash_root": data.get("event_hash_root"),
        **window,
        "finalized_at": moment,
        "created_at": moment,
        "updated_at": moment,
        "last_event_id": event.event_id,
    }


def differences(data: Mapping[str, Any], events: Sequence[RunEvent]) -> list[str]:
    """In which ways recorded evidence is not what the run's events say now, as sentences; none when it holds.

    Args:
        data: of ``evidence.manifest.created``, whatever became of it.
        events: the run's as they stand in the store, up to its end.
    """
    recorded = data.get("manifest")
    if not isinstance(recorded, Mapping):
        return ["the manifest itself is no longer there"]
    found: list[str] = []
    if manifest_hash(recorded) != data.get("manifest_hash"):
        found.append("manifest_hash is not the hash of the manifest")
    if recorded.get("event_hash_root") != data.get("event_hash_root"):
        found.append("event_hash_root is not the manifest's")
    if not events:
        return [*found, "the store holds no event that ended the run"]
    now = manifest(events)
    pointers = recorded.get("pointers")
    if not isinstance(pointers, Mapping):
        return [*found, "the manifest lists nothing"]
    found += _moved(pointers.get("events"), events)
    found += [
        f"{member} was {_short(recorded.get(member))}, the events give {_short(value)}"
        for member, value in now.items()
        if member != "pointers" and value != recorded.get(member)
    ]
    found += [
        f"pointers.{member} are not those of the events"
        for member, value in now["pointers"].items()
        if value != pointers.get(member)
    ]
    return found


def _moved(listed: object, events: Sequence[RunEvent]) -> list[str]:
    """The events that the manifest lists and the store does not hold, the other way round, and those that changed."""
    if not isinstance(listed, list):
        return []
    before = {pointer.get("event_id"): pointer for pointer in listed if isinstance(pointer, Mapping)}
    now = {event.event_id: _pointer(event) for event in events}
    gone = [f"event {name} at {before[name].get('stream_seq')} is gone" for name in before if name not in now]
    added = [f"event {name} at {now[name]['stream_seq']} was not there" for name in now if name not in before]
    changed = [
        f"event {name} at {now[name]['stream_seq']} is another one now"
        for name, pointer in before.items()
        if name in now and now[name] != pointer
    ]
    return gone + added + changed


def _short(value: Any) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 120 else text[:117] + "..."
