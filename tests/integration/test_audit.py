"""Verification of sound streams, of redacted ones, and in parts; and the guards of the events table."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from agentos_shared.domain.envelope import Event, Stream, canonical_content
from agentos_shared.store import audit
from tests.fixtures.chain import chain, store
from tests.fixtures.stack import Postgres

ROOM = Stream("room", "room_1")
Owner = asyncpg.Connection
MARKER = canonical_content({"redacted": True}, {}, {}, {})


@pytest.fixture
async def owner(postgres: Postgres) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(postgres.owner_url)
    yield connection
    await connection.close()


async def redact(owner: Owner, seq: int) -> None:
    """As the redaction procedure does: content and salt go, the digest stays."""
    await owner.execute("alter table evt_events disable trigger user")
    await owner.execute(
        "update evt_events set content = $1, salt = null, redaction_level = 'full' "
        "where stream_id = $2 and stream_seq = $3",
        MARKER,
        ROOM.id,
        seq,
    )
    await owner.execute("alter table evt_events enable trigger user")


def told(events: list[Event], *targets: int) -> list[Event]:
    """The same stream, its last events saying that those at ``targets`` were redacted."""
    data = [event.data for event in events[: len(events) - len(targets)]]
    data += [{"target_event_id": events[seq - 1].event_id} for seq in targets]
    types = [event.event_type for event in events[: len(events) - len(targets)]] + ["event.redacted"] * len(targets)
    return chain(ROOM, len(events), data=data, types=types)


async def test_streams_of_every_length_hold(owner: Owner) -> None:
    lengths = {1: 40, 3: 700, 120: 3, audit.SHORT: 1, audit.SHORT + 1: 1, 1700: 1}
    events = [
        event
        for length, streams in lengths.items()
        for number in range(streams)
        for event in chain(Stream("room", f"room_{length}_{number}"), length)
    ]
    await store(owner, events + chain(Stream("workspace", "ws_dev"), 11))
    steps: list[tuple[int, int]] = []
    report = await audit.verify_store(owner, progress=lambda done, total: steps.append((done, total)))
    assert report.valid
    assert (report.events, report.streams) == (len(events) + 11, sum(lengths.values()) + 1)
    assert steps == sorted(steps)
    assert steps[-1] == (report.events, report.events)


async def test_an_empty_store_and_an_unknown_stream_hold(owner: Owner) -> None:
    report = await audit.verify_store(owner)
    assert (report.valid, report.streams, report.events) == (True, 0, 0)
    verdict = await audit.verify_stream(owner, ROOM)
    assert (verdict.valid, verdict.checked, verdict.last_event_hash, verdict.head_seq) == (True, 0, None, None)
    assert await audit.owners(owner, ROOM) == set()


async def test_one_workspace_only(owner: Owner) -> None:
    await store(owner, chain(ROOM, 3) + chain(Stream("room", "room_2"), 4, workspace_id="ws_other"))
    report = await audit.verify_store(owner, workspace_id="ws_other")
    assert (report.streams, report.events) == (1, 4)
    assert await audit.owners(owner, ROOM) == {"ws_dev"}


async def test_a_stream_in_parts_gives_what_it_gives_whole(owner: Owner) -> None:
    events = chain(ROOM, 25)
    await store(owner, events)
    whole = await audit.verify_stream(owner, ROOM)
    parts = [await audit.verify_stream(owner, ROOM, after=after, limit=10) for after in (0, 10, 20)]
    assert [part.checked for part in parts] == [10, 10, 5]
    assert [part.last_event_hash for part in parts] == [events[seq - 1].event_hash for seq in (10, 20, 25)]
    assert replace(parts[-1], checked=25) == whole
    assert all(part.valid for part in parts)
    assert (await audit.verify_stream(owner, ROOM, after=25)).checked == 0
    assert (await audit.verify_stream(owner, ROOM, after=25)).valid


async def test_a_part_that_begins_behind_the_end_sees_a_missing_tail(owner: Owner) -> None:
    await store(owner, chain(ROOM, 25))
    await owner.execute("update evt_stream_heads set seq = 30")
    assert (await audit.verify_stream(owner, ROOM, limit=25)).valid
    verdict = await audit.verify_stream(owner, ROOM, after=25)
    assert verdict.first_mismatch is not None
    assert (verdict.first_mismatch.kind, verdict.first_mismatch.stream_seq) == ("head_mismatch", 26)


async def test_redacted_events_still_verify(owner: Owner) -> None:
    events = chain(ROOM, 14)
    await store(owner, told(events, 3, 7))
    await redact(owner, 3)
    await redact(owner, 7)
    verdict = await audit.verify_stream(owner, ROOM)
    assert (verdict.valid, verdict.redacted, verdict.checked) == (True, 2, 14)
    # The event that says so may lie beyond what is checked.
    assert (await audit.verify_stream(owner, ROOM, limit=5)).valid
    assert (await audit.verify_store(owner)).redacted == 2


async def test_content_that_vanished_without_a_word_is_found(owner: Owner) -> None:
    await store(owner, told(chain(ROOM, 14), 3))
    await redact(owner, 3)
    await redact(owner, 7)
    verdict = await audit.verify_stream(owner, ROOM)
    assert verdict.first_mismatch is not None
    assert (verdict.first_mismatch.kind, verdict.first_mismatch.stream_seq) == ("redaction_not_recorded", 7)


@pytest.mark.parametrize("change", ["redaction_level = 'none'", "data_digest = 'sha256:0'", "actor_id = 'x'"])
async def test_a_redacted_event_that_was_changed_is_found(owner: Owner, change: str) -> None:
    await store(owner, told(chain(ROOM, 14), 3))
    await redact(owner, 3)
    await owner.execute("alter table evt_events disable trigger user")
    await owner.execute(f"update evt_events set {change} where stream_seq = 3")
    verdict = await audit.verify_stream(owner, ROOM)
    assert verdict.first_mismatch is not None
    assert verdict.first_mismatch.stream_seq == 3


async def test_a_mark_in_ordinary_text_is_no_redaction(owner: Owner) -> None:
    await store(owner, chain(ROOM, 3, data=[{"content_md": "[redacted], it said"}]))
    assert (await audit.verify_stream(owner, ROOM)).valid
    await owner.execute("alter table evt_events disable trigger user")
    await owner.execute(
        "update evt_events set redaction_level = 'partial', contains_secrets = true where stream_seq = 1"
    )
    verdict = await audit.verify_stream(owner, ROOM)
    assert verdict.first_mismatch is not None
    assert (verdict.first_mismatch.kind, verdict.first_mismatch.stream_seq) == ("redaction_not_recorded", 1)


async def test_an_event_that_hides_its_redaction_is_found(owner: Owner) -> None:
    await store(owner, told(chain(ROOM, 14), 3))
    verdict = await audit.verify_stream(owner, ROOM)
    assert verdict.first_mismatch is not None
    assert (verdict.first_mismatch.kind, verdict.first_mismatch.stream_seq) == ("flags_mismatch", 3)


CHANGES = [
    "update evt_events set actor_id = 'x'",
    "update evt_events set content = content",
    "delete from evt_events where stream_seq = 1",
    "truncate evt_events",
    "truncate evt_events, evt_outbox cascade",
    "with gone as (delete from evt_events returning 1) select count(*) from gone",
    "merge into evt_events e using (select 1) one on true when matched then delete",
]
#: What the owner may do, since the table is the owner's; verification finds what comes of it.
BYPASSES = [
    "alter table evt_events disable trigger user",
    "set session_replication_role = replica",
    "drop trigger evt_events_append_only on evt_events",
    "drop table evt_events",
    "create or replace function public.evt_refuse_change() returns trigger language plpgsql as 'begin return old; end'",
]


@pytest.mark.parametrize(
    ("role", "statement"),
    [("owner", change) for change in CHANGES]
    + [(role, statement) for role in ("api", "engine", "projector") for statement in CHANGES + BYPASSES],
)
async def test_events_can_only_be_added(postgres: Postgres, owner: Owner, role: str, statement: str) -> None:
    await store(owner, chain(ROOM, 3))
    connection = await asyncpg.connect(getattr(postgres, f"{role}_url"))
    try:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute(statement)
    finally:
        await connection.close()
    if role == "owner":
        assert "append-only" in str(refused.value)
    else:
        assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError)
    assert await owner.fetchval("select count(*) from evt_events") == 3
    assert (await audit.verify_store(owner)).valid


async def without_guards(owner: Owner, *statements: str) -> None:
    await owner.execute("alter table evt_events disable trigger user")
    for statement in statements:
        await owner.execute(statement)
    await owner.execute("alter table evt_events enable trigger user")


async def verified_once(owner: Owner) -> None:
    await store(owner, chain(ROOM, 20) + chain(Stream("room", "room_2"), 5))
    assert (await audit.verify_store(owner, checkpoints=True)).valid
    assert await owner.fetchval("select seq from evt_checkpoints where stream_id = $1", ROOM.id) == 20


async def test_a_tail_deleted_with_its_head_is_found_by_the_last_verification(owner: Owner) -> None:
    await verified_once(owner)
    await without_guards(
        owner,
        "delete from evt_events where stream_id = 'room_1' and stream_seq > 15",
        "update evt_stream_heads h set seq = 15, hash = e.event_hash from evt_events e"
        " where h.stream_id = 'room_1' and e.stream_id = 'room_1' and e.stream_seq = 15",
    )
    assert (await audit.verify_store(owner)).valid, "the chain alone cannot know"
    report = await audit.verify_store(owner, checkpoints=True)
    (bad,) = report.bad
    assert bad.first_mismatch is not None
    assert (bad.stream_id, bad.first_mismatch.kind, bad.first_mismatch.stream_seq) == (
        "room_1",
        "checkpoint_mismatch",
        20,
    )
    again = await audit.verify_store(owner, checkpoints=True)
    assert not again.valid, "what was found is not forgotten"


async def test_a_chain_that_was_computed_anew_is_found_by_the_last_verification(owner: Owner) -> None:
    await verified_once(owner)
    forged = chain(ROOM, 20, data=[{"content_md": "never said"}])
    await without_guards(
        owner,
        "delete from evt_events where stream_id = 'room_1'",
        "delete from evt_stream_heads where stream_id = 'room_1'",
    )
    await store(owner, forged)
    assert (await audit.verify_store(owner)).valid, "the chain alone cannot know"
    report = await audit.verify_store(owner, checkpoints=True)
    assert [bad.stream_id for bad in report.bad] == ["room_1"]


async def test_what_is_appended_after_a_verification_is_no_mismatch(owner: Owner) -> None:
    await verified_once(owner)
    longer = chain(ROOM, 25)
    await without_guards(
        owner,
        "delete from evt_events where stream_id = 'room_1'",
        "delete from evt_stream_heads where stream_id = 'room_1'",
    )
    await store(owner, longer)
    assert (await audit.verify_store(owner, checkpoints=True)).valid
    assert await owner.fetchval("select seq from evt_checkpoints where stream_id = $1", ROOM.id) == 25
