"""A run's evidence, checked straight from the database: whatever is done to the run's events is found."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from agentos_shared.domain import evidence, principals, rooms, runs, steps, tool_calls
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import Event, Stream, canonical_content, data_digest, event_hash, hashed_bytes
from agentos_shared.domain.evidence import FinalizeEvidence
from agentos_shared.store import run_events
from agentos_shared.store.evidence_audit import EvidenceReport, verify_evidence
from agentos_shared.store.reader import event_of
from tests.fixtures.chain import chain, store
from tests.fixtures.engines import site
from tests.fixtures.given import Given
from tests.fixtures.stack import Postgres, Stack, agentos

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
RUN = "run_00000000000000000000000001"


def run_ended() -> Given:
    """Two runs in a room, their events mixed; the first has ended."""

    def command(body: Any, entity_id: str, parent_id: str | None = None) -> Command[Any]:
        return Command(body, META, entity_id, parent_id, "room_1")

    return Given(
        (rooms.create, command(rooms.CreateRoom(title="Ops"), "room_1")),
        (runs.create, command(runs.CreateRun(room_id="room_1"), RUN)),
        (runs.create, command(runs.CreateRun(room_id="room_1"), "run_2")),
        (runs.start, command(runs.StartRun(), RUN)),
        (steps.create, command(steps.CreateStep(kind="work"), "step_1", RUN)),
        (runs.start, command(runs.StartRun(), "run_2")),
        (tool_calls.invoke, command(tool_calls.InvokeTool(tool_name="echo"), "tc_1", "step_1")),
        (tool_calls.succeed, command(tool_calls.SucceedTool(output={"n": 1}), "tc_1")),
        (steps.create, command(steps.CreateStep(kind="other"), "step_2", "run_2")),
        (runs.complete, command(runs.CompleteRun(summary="done"), RUN)),
    )


async def recorded(connection: "asyncpg.Connection[Any]") -> list[Event]:
    """Store the history and the evidence that the store itself then gives."""
    history = run_ended()
    await store(connection, history.events)
    loaded = await run_events.read_ended_run(connection, RUN)
    finalize = Command(FinalizeEvidence(), META, RUN, None, "room_1", loaded)
    whole = history.and_then(evidence.finalize, finalize).events
    await replace(connection, whole)
    return whole


async def replace(connection: "asyncpg.Connection[Any]", events: list[Event]) -> None:
    """What somebody with all rights over the database could do."""
    await connection.execute("alter table evt_events disable trigger all; delete from evt_events")
    await connection.execute("delete from evt_stream_heads")
    await store(connection, events)
    await connection.execute("alter table evt_events enable always trigger evt_events_append_only")


def rechained(events: list[Event]) -> list[Event]:
    """The events numbered and hashed anew, as if they had been appended so."""
    done: list[Event] = []
    for seq, event in enumerate(events, 1):
        previous = done[-1].event_hash if done else None
        digest = data_digest(event.salt or b"", event.content)
        moved = event._replace(stream_seq=seq, prev_event_hash=previous, data_digest=digest)
        done.append(moved._replace(event_hash=event_hash(previous, hashed_bytes(moved))))
    return done


def edited(event: Event) -> Event:
    return event._replace(content=canonical_content({**event.data, "title": "Lies"}, {}, {}, {}))


TAMPERED: dict[str, tuple[Callable[[list[Event]], list[Event]], str]] = {
    "content edited": (lambda events: [*events[:4], edited(events[4]), *events[5:]], "data_digest_mismatch"),
    "actor edited": (
        lambda events: [*events[:6], events[6]._replace(actor_id="eve"), *events[7:]],
        "event_hash_mismatch",
    ),
    "deleted": (lambda events: events[:6] + events[7:], "is gone"),
    "first deleted": (lambda events: events[:1] + events[2:], "is gone"),
    "end deleted": (lambda events: events[:9] + events[10:], "no event that ended the run"),
    "taken from the run": (
        lambda events: [*events[:6], events[6]._replace(run_id="run_2"), *events[7:]],
        "is gone",
    ),
    "inserted in place of another's": (
        lambda events: [*events[:5], events[5]._replace(run_id=RUN), *events[6:]],
        "was not there",
    ),
    "edited, and all hashes computed anew": (
        lambda events: rechained([*events[:4], edited(events[4]), *events[5:]]),
        "is another one now",
    ),
    "deleted, and all computed anew": (lambda events: rechained(events[:6] + events[7:]), "is gone"),
    "evidence edited": (
        lambda events: [
            *events[:10],
            events[10]._replace(content=events[10].content.replace('"succeeded"', '"failed"')),
        ],
        "data_digest_mismatch",
    ),
    "evidence edited, and all computed anew": (
        lambda events: rechained(
            [*events[:10], events[10]._replace(content=events[10].content.replace('"succeeded"', '"failed"'))]
        ),
        "manifest_hash is not the hash of the manifest",
    ),
}


def told(report: EvidenceReport) -> str:
    mismatch = report.chain.first_mismatch if report.chain else None
    return "; ".join([*report.differences, mismatch.kind if mismatch else ""])


async def test_evidence_holds_while_nothing_is_changed(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.owner_url)
    await recorded(connection)
    report = await verify_evidence(connection, RUN)
    assert (report.valid, told(report)) == (True, "")
    assert (report.event_count, report.run_status) == (6, "succeeded")
    assert report.chain is not None
    assert report.chain.checked == 10  # from the run's first event to the one that recorded the evidence
    await connection.close()


@pytest.mark.parametrize("how", TAMPERED)
async def test_whatever_is_changed_is_found(postgres: Postgres, how: str) -> None:
    tamper, words = TAMPERED[how]
    connection = await asyncpg.connect(postgres.owner_url)
    events = await recorded(connection)
    await replace(connection, tamper(events))
    report = await verify_evidence(connection, RUN)
    assert not report.valid
    assert words in told(report)
    await connection.close()


def test_the_command_says_it(postgres: Postgres) -> None:
    environment = {"AGENTOS_POSTGRES_URL": postgres.owner_url}

    async def fill(tamper: Callable[[list[Event]], list[Event]] | None) -> None:
        connection = await asyncpg.connect(postgres.owner_url)
        if tamper is None:
            await store(connection, chain(Stream("room", "room_0"), 3))
            await recorded(connection)
        else:
            rows = await connection.fetch("select * from evt_events where stream_id = 'room_1' order by stream_seq")
            await replace(connection, tamper([event_of(row) for row in rows]))
        await connection.close()

    asyncio.run(fill(None))
    well = agentos("audit", "evidence", RUN, env=environment)
    assert (well.returncode, well.stderr) == (0, "")
    assert f"The evidence of {RUN} holds: succeeded, 6 events" in well.stdout
    none = agentos("audit", "evidence", "run_2", env=environment)
    assert (none.returncode, "has not ended" in none.stderr) == (1, True)

    asyncio.run(fill(TAMPERED["deleted"][0]))
    bad = agentos("audit", "evidence", RUN, env=environment)
    assert bad.returncode == 1
    assert "Not as recorded: event" in bad.stdout
    assert "Broken chain: room/room_1 at 8: sequence_gap" in bad.stdout
    report = json.loads(agentos("audit", "evidence", RUN, "--json", env=environment).stdout)
    assert (report["valid"], report["chain"]["first_mismatch"]["kind"]) == (False, "sequence_gap")


async def test_contents_beside_the_store_are_read_again(stack: Stack) -> None:
    async with site(stack.url) as here:
        run_id = await here.run(await here.room())
        await here.done(f"/v1/runs/{run_id}/start", {})
        step_id = (await here.done(f"/v1/runs/{run_id}/steps", {"kind": "work"}))["step_id"]
        content = {"type": "text", "text": f"{run_id} " * 10_000}
        for body in (
            {"kind": "large", "content": content},
            {"kind": "small", "content": {"type": "text", "text": "x"}},
        ):
            await here.done(f"/v1/steps/{step_id}/artifacts", body)
        await here.done(f"/v1/runs/{run_id}/complete", {})
        await here.event(run_id, "evidence.manifest.created")
    name = hashlib.sha256(content["text"].encode()).hexdigest()
    blob = stack.data_dir / "blobs" / name

    def audit() -> tuple[int, str]:
        done = agentos("audit", "evidence", run_id, "--data-dir", str(stack.data_dir))
        return done.returncode, done.stdout

    assert (audit()[0], "1 content beside the store" in audit()[1]) == (0, True)
    blob.chmod(0o600)
    for damage, fault in (
        (lambda: blob.write_bytes(b"another"), "is another one now"),
        (blob.unlink, "is missing"),
    ):
        damage()
        code, told = audit()
        assert code == 1
        assert f"{name}, {fault}" in told
    blob.write_text(content["text"])
    assert audit()[0] == 0
