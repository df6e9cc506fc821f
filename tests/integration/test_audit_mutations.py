"""Whatever is done to the stored events behind the API's back, verification finds, and names the first bad event."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.store import audit
from agentos_shared.store.chain import Mismatch
from tests.fixtures.chain import chain, store
from tests.fixtures.stack import Postgres

ROOM = Stream("room", "room_mutated")
OTHER = Stream("room", "room_other")
LENGTH = 12

Owner = asyncpg.Connection


@pytest.fixture
async def owner(postgres: Postgres) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(postgres.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def events(owner: Owner) -> list[Event]:
    """A room of twelve events beside another one."""
    room = chain(ROOM, LENGTH)
    await store(owner, [*room, *chain(OTHER, 5)])
    return room


async def tamper(owner: Owner, *statements: str) -> None:
    """As somebody with the owner's password can, who switches the triggers off and on again."""
    await owner.execute("alter table evt_events disable trigger user")
    for statement in statements:
        await owner.execute(statement)
    await owner.execute("alter table evt_events enable trigger user")


async def found(owner: Owner) -> Mismatch:
    """The mismatch of the room; the whole-store check agrees, and clears every other stream."""
    verdict = await audit.verify_stream(owner, ROOM)
    report = await audit.verify_store(owner)
    assert verdict.first_mismatch is not None
    assert not verdict.valid
    assert report.bad == [verdict]
    assert not report.valid
    return verdict.first_mismatch


WHERE = "where stream_type = 'room' and stream_id = 'room_mutated'"
FIFTH = f"{WHERE} and stream_seq = 5"

#: Every column that is hashed, with a change to it. (The three that place an event in a stream are moved, below.)
EDITS = {
    "event_id": "'0190b4f0-0000-7000-8000-00000000dead'",
    "event_type": "'message.edited'",
    "event_version": "2",
    "occurred_at": "occurred_at + interval '1 millisecond'",
    "recorded_at": "recorded_at - interval '1 millisecond'",
    "workspace_id": "'ws_other'",
    "mission_id": "'mission_1'",
    "room_id": "'room_other'",
    "thread_id": "null",
    "run_id": "'run_1'",
    "step_id": "'step_1'",
    "actor_type": "'agent'",
    "actor_id": "'somebody else'",
    "actor_principal_id": "'0190b4f0-0000-7000-8000-00000000beef'",
    "zone": "'sandbox'",
    "entity_type": "'thread'",
    "entity_id": "'msg_other'",
    "entity_version": "2",
    "correlation_id": "''",
    "causation_id": "'0190b4f0-0000-7000-8000-00000000dead'",
    "idempotency_key": "'key'",
    "event_hash": "'sha256:' || repeat('0', 64)",
}


@pytest.mark.parametrize("column", EDITS)
async def test_an_edited_envelope_is_found(owner: Owner, events: list[Event], column: str) -> None:
    await tamper(owner, f"update evt_events set {column} = {EDITS[column]} {FIFTH}")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (5, "event_hash_mismatch")
    if column != "event_id":
        assert mismatch.event_id == events[4].event_id
    assert mismatch.expected_event_hash != mismatch.actual_event_hash


def test_every_stored_column_is_mutated() -> None:
    elsewhere = {"stream_type", "stream_id", "stream_seq", "redaction_level", "contains_secrets", "prev_event_hash"}
    elsewhere |= {"content", "salt", "data_digest"}
    assert set(EDITS) | elsewhere == set(Event._fields)


@pytest.mark.parametrize(
    "change",
    [
        "content = replace(content, 'Text', 'Lies')",
        "content = content || ' '",
        """content = '{"data":{},"display":{},"model_context":{},"policy_context":{}}'""",
        "salt = decode(repeat('00', 16), 'hex')",
        "salt = ''",
        "data_digest = 'sha256:' || repeat('0', 64)",
    ],
)
async def test_edited_content_is_found(owner: Owner, events: list[Event], change: str) -> None:
    await tamper(owner, f"update evt_events set {change} {FIFTH}")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.event_id) == (5, events[4].event_id)
    assert mismatch.kind == "data_digest_mismatch"


async def test_content_with_a_matching_new_digest_is_found(owner: Owner, events: list[Event]) -> None:
    change = "content = replace(content, 'Text', 'Lies'), data_digest = 'sha256:' || encode(sha256(salt || convert_to("
    change += "replace(content, 'Text', 'Lies'), 'UTF8')), 'hex')"
    await tamper(owner, f"update evt_events set {change} {FIFTH}")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (5, "event_hash_mismatch")


@pytest.mark.parametrize(
    "change",
    [
        "redaction_level = 'partial'",
        "redaction_level = 'full'",
        "contains_secrets = true",
        "redaction_level = 'partial', contains_secrets = true",
        "redaction_level = 'whatever'",
    ],
)
async def test_flags_that_contradict_the_content_are_found(owner: Owner, events: list[Event], change: str) -> None:
    await tamper(owner, f"update evt_events set {change} {FIFTH}")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (5, "flags_mismatch")


@pytest.mark.parametrize("link", ["null", "'sha256:' || repeat('0', 64)"])
async def test_an_edited_link_is_found(owner: Owner, events: list[Event], link: str) -> None:
    await tamper(owner, f"update evt_events set prev_event_hash = {link} {FIFTH}")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (5, "prev_hash_mismatch")
    assert mismatch.expected_prev_event_hash == events[3].event_hash


async def test_a_removed_hash_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"update evt_events set event_hash = '' {FIFTH}")
    assert (await found(owner)).kind == "event_hash_missing"


async def test_deletion_in_the_middle_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"delete from evt_events {FIFTH}")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.event_id) == (6, events[5].event_id)
    assert mismatch.kind == "sequence_gap"
    assert "position 5" in mismatch.detail


async def test_deletion_at_the_start_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"delete from evt_events {WHERE} and stream_seq <= 3")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (4, "sequence_gap")
    assert "1 to 3" in mismatch.detail


async def test_deletion_that_closes_the_gap_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(
        owner,
        f"delete from evt_events {FIFTH}",
        *(f"update evt_events set stream_seq = {seq - 1} {WHERE} and stream_seq = {seq}" for seq in range(6, 13)),
        f"update evt_stream_heads set seq = 11 {WHERE}",
    )
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.event_id) == (5, events[5].event_id)
    assert mismatch.kind == "prev_hash_mismatch"


async def test_a_deleted_tail_is_found_by_its_head(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"delete from evt_events {WHERE} and stream_seq > 10")
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind, mismatch.event_id) == (11, "head_mismatch", None)


async def test_swapped_events_are_found(owner: Owner, events: list[Event]) -> None:
    await tamper(
        owner,
        f"update evt_events set stream_seq = 1000 {FIFTH}",
        f"update evt_events set stream_seq = 5 {WHERE} and stream_seq = 8",
        f"update evt_events set stream_seq = 8 {WHERE} and stream_seq = 1000",
    )
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.event_id) == (5, events[7].event_id)


async def test_swapped_contents_are_found(owner: Owner, events: list[Event]) -> None:
    await tamper(
        owner,
        "update evt_events e set content = o.content, salt = o.salt, data_digest = o.data_digest from evt_events o "
        "where e.stream_id = 'room_mutated' and o.stream_id = 'room_mutated' "
        "and (e.stream_seq, o.stream_seq) in ((5, 8), (8, 5))",
    )
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (5, "event_hash_mismatch")


async def test_an_inserted_event_is_found(owner: Owner, events: list[Event]) -> None:
    forged = chain(ROOM, 5, seed=2)[-1]._replace(prev_event_hash=events[3].event_hash)
    shifts = (
        f"update evt_events set stream_seq = {seq + 1} {WHERE} and stream_seq = {seq}" for seq in range(12, 4, -1)
    )
    await tamper(owner, *shifts, f"update evt_stream_heads set seq = 13 {WHERE}")
    await owner.copy_records_to_table("evt_events", columns=Event._fields, records=[forged])
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.event_id) == (5, forged.event_id)
    assert mismatch.kind == "event_hash_mismatch"


async def test_an_event_beyond_the_head_is_found(owner: Owner, events: list[Event]) -> None:
    await owner.copy_records_to_table("evt_events", columns=Event._fields, records=[chain(ROOM, LENGTH + 1)[-1]])
    mismatch = await found(owner)
    assert (mismatch.stream_seq, mismatch.kind) == (13, "head_mismatch")


async def test_a_doubled_position_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(
        owner,
        "alter table evt_events drop constraint evt_events_pkey",
        f"update evt_events set stream_seq = 5 {WHERE} and stream_seq = 6",
    )
    assert (await found(owner)).kind in ("sequence_repeated", "prev_hash_mismatch")


async def test_an_event_moved_from_another_stream_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(
        owner,
        f"delete from evt_events {FIFTH}",
        "update evt_events set stream_id = 'room_mutated' where stream_id = 'room_other' and stream_seq = 5",
    )
    verdict = await audit.verify_stream(owner, ROOM)
    assert verdict.first_mismatch is not None
    assert (verdict.first_mismatch.stream_seq, verdict.first_mismatch.kind) == (5, "prev_hash_mismatch")
    assert {bad.stream_id for bad in (await audit.verify_store(owner)).bad} == {ROOM.id, OTHER.id}


async def test_a_stream_under_another_type_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"update evt_events set stream_type = 'workspace' {WHERE}")
    report = await audit.verify_store(owner)
    assert [(bad.stream_type, bad.first_mismatch and bad.first_mismatch.kind) for bad in report.bad] == [
        ("room", "events_missing"),
        ("workspace", "event_hash_mismatch"),
    ]


@pytest.mark.parametrize(
    ("change", "kind", "seq"),
    [
        ("update evt_stream_heads set seq = 10", "head_mismatch", 11),
        ("update evt_stream_heads set seq = 14", "head_mismatch", 13),
        ("update evt_stream_heads set hash = 'sha256:' || repeat('0', 64)", "head_mismatch", 12),
        ("update evt_stream_heads set hash = null", "head_mismatch", 12),
        ("update evt_stream_heads set workspace_id = 'ws_other'", "head_mismatch", 1),
        ("delete from evt_stream_heads", "head_missing", 12),
    ],
)
async def test_a_changed_head_is_found(owner: Owner, events: list[Event], change: str, kind: str, seq: int) -> None:
    await tamper(owner, f"{change} {WHERE}")
    mismatch = await found(owner)
    assert (mismatch.kind, mismatch.stream_seq) == (kind, seq)


async def test_a_head_without_events_is_found(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"delete from evt_events {WHERE}")
    assert (await found(owner)).kind == "events_missing"


async def test_forward_recomputation_needs_checkpoints_to_be_found(owner: Owner, events: list[Event]) -> None:
    """As docs/security.md states: who can write everything can rewrite everything; a head known outside tells."""
    forged = chain(ROOM, LENGTH, seed=3)
    await tamper(owner, f"delete from evt_events {WHERE}", f"delete from evt_stream_heads {WHERE}")
    await store(owner, forged)
    verdict = await audit.verify_stream(owner, ROOM)
    assert verdict.valid
    assert verdict.last_event_hash != events[-1].event_hash


async def test_the_first_of_several_is_named(owner: Owner, events: list[Event]) -> None:
    await tamper(owner, f"update evt_events set actor_id = 'x' {WHERE} and stream_seq in (4, 9)")
    assert (await found(owner)).stream_seq == 4


async def test_switched_off_guards_are_told(owner: Owner, events: list[Event]) -> None:
    await owner.execute("alter table evt_events disable trigger evt_events_append_only")
    await owner.execute("drop trigger evt_events_no_truncate on evt_events")
    report = await audit.verify_store(owner)
    assert report.bad == []
    assert not report.valid
    assert report.weak_guards == [
        "trigger evt_events_append_only is disabled",
        "trigger evt_events_no_truncate is gone",
    ]
