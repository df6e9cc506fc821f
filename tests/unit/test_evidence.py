"""Evidence: a run's events make one manifest, and no other events make the same."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.domain import evidence
from agentos_shared.domain.evidence import RunEvent, differences, hash_root, manifest, manifest_hash

MOMENT = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)


def event(seq: int, event_type: str, entity_id: str = "run_1", **members: Any) -> RunEvent:
    made = RunEvent(
        event_id=f"event-{seq}",
        event_type=event_type,
        occurred_at=MOMENT,
        recorded_at=MOMENT,
        workspace_id="ws_1",
        room_id="room_1",
        thread_id=None,
        run_id="run_1",
        stream_type="room",
        stream_id="room_1",
        stream_seq=seq,
        entity_type=event_type.partition(".")[0],
        entity_id=entity_id,
        correlation_id="c-1",
        event_hash=f"sha256:{seq:064x}",
    )
    return made._replace(**members)


RUN = [
    event(8, "run.created"),
    event(9, "run.started"),
    event(10, "step.created", "step_1"),
    event(12, "tool.invoked", "tc_1"),
    event(13, "tool.succeeded", "tc_1"),
    event(14, "artifact.created", "art_1"),
    event(101, "run.completed"),
]


def recorded(events: list[RunEvent]) -> dict[str, Any]:
    made = manifest(events)
    return {
        "manifest": made,
        "manifest_hash": manifest_hash(made),
        "event_hash_root": made["event_hash_root"],
    }


def test_a_manifest_tells_what_the_run_did_and_where() -> None:
    made = manifest(RUN)
    assert made["run_status"] == "succeeded"
    assert made["stream_window"] == {
        "stream_type": "room",
        "stream_id": "room_1",
        "from_seq": 8,
        "to_seq": 101,
        "event_count": 7,
    }
    pointers = made["pointers"]
    assert (pointers["step_ids"], pointers["tool_call_ids"], pointers["artifact_ids"]) == (
        ["step_1"],
        ["tc_1"],
        ["art_1"],
    )
    assert [pointer["stream_seq"] for pointer in pointers["events"]] == [8, 9, 10, 12, 13, 14, 101]
    assert made["completeness"] == {
        "terminal_event_present": True,
        "all_toolcalls_terminal": True,
        "step_count": 1,
        "tool_call_count": 1,
        "artifact_count": 1,
    }
    assert made["evidence_id"] == evidence.evidence_id("run_1")
    assert made["event_hash_root"] == hash_root(RUN)


@pytest.mark.parametrize(
    ("end", "status"),
    [("run.completed", "succeeded"), ("run.failed", "failed"), ("run.cancelled", "cancelled")],
)
def test_each_end_gives_its_status(end: str, status: str) -> None:
    assert manifest([*RUN[:-1], event(101, end)])["run_status"] == status


def test_a_tool_call_without_an_end_is_told() -> None:
    made = manifest([*RUN[:5], event(20, "tool.invoked", "tc_2"), event(21, "run.failed")])
    assert made["completeness"]["all_toolcalls_terminal"] is False


def test_of_very_many_events_only_number_and_root_are_kept() -> None:
    calls = [event(seq, "tool.invoked", f"tc_{seq}") for seq in range(10, 10 + evidence.MAX_LISTED + 1)]
    events = [RUN[0], *calls, event(5000, "run.failed")]
    made = manifest(events)
    assert made["pointers"]["events"] is None
    assert made["pointers"]["events_omitted"] is True
    assert made["pointers"]["tool_call_ids"] is None
    assert made["pointers"]["ids_omitted"] is True
    assert made["completeness"]["tool_call_count"] == evidence.MAX_LISTED + 1
    assert differences(recorded(events), events) == []
    assert differences(recorded(events), events[:50] + events[51:]) != []


def test_what_was_recorded_is_found_again() -> None:
    assert differences(recorded(RUN), RUN) == []


CHANGES: dict[str, tuple[Callable[[list[RunEvent]], list[RunEvent]], str]] = {
    "edited": (lambda run: [*run[:3], run[3]._replace(event_hash="sha256:0"), *run[4:]], "is another one now"),
    "deleted": (lambda run: run[:3] + run[4:], "is gone"),
    "inserted": (lambda run: [*run[:4], event(99, "step.created", "step_9"), *run[4:]], "was not there"),
    "its end deleted": (lambda _run: [], "no event that ended the run"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_run_is_no_longer_its_evidence(change: str) -> None:
    tamper, words = CHANGES[change]
    assert any(words in found for found in differences(recorded(RUN), tamper(RUN)))


def test_a_changed_manifest_is_not_its_hash() -> None:
    data = recorded(RUN)
    data["manifest"]["run_status"] = "failed"
    found = differences(data, RUN)
    assert "manifest_hash is not the hash of the manifest" in found
    assert any(difference.startswith("run_status was") for difference in found)


@pytest.mark.parametrize("data", [{}, {"manifest": None}, {"manifest": {"pointers": 3}}, {"manifest": {}}])
def test_a_mangled_record_is_told_and_nothing_breaks(data: dict[str, Any]) -> None:
    assert differences(data, RUN) != []


@given(seqs=st.sets(st.integers(1, 400), min_size=2, max_size=60), drop=st.integers(0, 10_000))
def test_no_event_can_be_missing(seqs: set[int], drop: int) -> None:
    places = sorted(seqs)
    run = [event(seq, "step.created", f"step_{seq}") for seq in places[:-1]] + [event(places[-1], "run.completed")]
    assert manifest(run) == manifest(list(run))
    assert differences(recorded(run), run) == []
    gone = drop % (len(run) - 1)
    if len(run) > 1 and (rest := run[:gone] + run[gone + 1 :]):
        assert differences(recorded(run), rest) != []
