"""Any change to any event of a stream is found, and the first bad event is named."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.store.chain import ChainCheck, Mismatch
from agentos_shared.store.reader import Head
from tests.fixtures.chain import chain

ROOM = Stream("room", "room_1")
LENGTH = 40
SOUND = chain(ROOM, LENGTH)
HEAD = Head(LENGTH, SOUND[-1].event_hash)
places = st.integers(0, LENGTH - 1)


def checked(events: Sequence[Event], head: Head | None = HEAD) -> Mismatch | None:
    """As the store would be read: in order of position."""
    check = ChainCheck(ROOM, workspace_id="ws_dev")
    for event in sorted(events, key=lambda event: event.stream_seq):
        if not check.feed(event):
            break
    check.settle([])
    check.close(head)
    return check.mismatch


def changed(value: Any, by: int) -> Any:
    """Another value of the same kind."""
    if value is None:
        return "something"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 + by
    if isinstance(value, str):
        place = by % len(value)
        return value[:place] + "~" + value[place + 1 :]
    if isinstance(value, bytes):
        place = by % len(value)
        return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]
    return value + timedelta(milliseconds=1 + by)


def test_a_sound_stream_is_sound() -> None:
    assert checked(SOUND) is None
    assert checked([], None) is None


@given(places, st.sampled_from(Event._fields), st.integers(0, 300))
def test_any_changed_member_is_found(place: int, member: str, by: int) -> None:
    bad = SOUND[place]._replace(**{member: changed(getattr(SOUND[place], member), by)})
    found = checked([*SOUND[:place], bad, *SOUND[place + 1 :]])
    assert found is not None
    if member == "stream_seq":
        assert found.stream_seq >= place + 1
    else:
        assert (found.stream_seq, found.event_id) == (place + 1, bad.event_id)


@given(places, places)
def test_any_deletion_is_found(first: int, last: int) -> None:
    first, last = min(first, last), max(first, last)
    found = checked(SOUND[:first] + SOUND[last + 1 :])
    assert found is not None
    if last == LENGTH - 1:
        assert (found.kind, found.stream_seq) == ("events_missing" if first == 0 else "head_mismatch", found.stream_seq)
        assert found.stream_seq == (LENGTH if first == 0 else first + 1)
    else:
        assert (found.kind, found.stream_seq) == ("sequence_gap", last + 2)


@given(places, places)
def test_any_swap_is_found(one: int, other: int) -> None:
    events = list(SOUND)
    events[one] = SOUND[other]._replace(stream_seq=one + 1)
    events[other] = SOUND[one]._replace(stream_seq=other + 1)
    found = checked(events)
    assert (found is None) == (one == other)
    if found is not None:
        assert found.stream_seq == min(one, other) + 1


@given(st.permutations(range(LENGTH)))
def test_any_new_order_is_found_where_it_begins(order: list[int]) -> None:
    events = [SOUND[place]._replace(stream_seq=seq) for seq, place in enumerate(order, 1)]
    found = checked(events)
    first = next((seq for seq, place in enumerate(order, 1) if place != seq - 1), None)
    assert (None if found is None else found.stream_seq) == first


@given(places, st.sampled_from(["moved", "copied", "forged"]))
def test_any_insertion_is_found(place: int, kind: str) -> None:
    link = SOUND[place].prev_event_hash
    inserted = {
        "moved": chain(Stream("room", "room_2"), 1)[0]._replace(stream_id=ROOM.id, prev_event_hash=link),
        "copied": SOUND[place],
        "forged": chain(ROOM, place + 1, seed=2)[-1]._replace(prev_event_hash=link),
    }[kind]._replace(stream_seq=place + 1)
    behind = [event._replace(stream_seq=event.stream_seq + 1) for event in SOUND[place:]]
    found = checked([*SOUND[:place], inserted, *behind], HEAD._replace(seq=LENGTH + 1))
    assert found is not None
    # What fits where it stands, such as a copy in the place of the event itself, pushes the error to its successor.
    fits = kind == "copied" or (kind == "forged" and place == 0)
    assert found.stream_seq == place + (2 if fits else 1)
