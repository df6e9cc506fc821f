"""Group commit against a real Postgres: order, isolation of failures, keys, foreign writers, outages."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg
import orjson
import pytest

from agentos_api.append.appender import Appender, Committed
from agentos_api.append.store import PostgresStore
from agentos_api.append.submission import Answer, Outcome, Part, RequestKey, Submission
from agentos_shared.domain import ids, kill_switches, messages, principals, rooms, threads
from agentos_shared.domain.decider import Command, Decide, Meta, View
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.domain.errors import Conflict, DomainError, TooLarge, TryLater
from agentos_shared.domain.kill_switches import KillSwitches, SetKillSwitch, switches_id
from agentos_shared.host.lifecycle import CLOCK
from agentos_shared.store.audit import verify_store
from agentos_shared.store.reader import read_stream
from tests.fixtures.stack import Postgres

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")


def render(outcomes: Sequence[Outcome]) -> Answer:
    """Every outcome: the sequences it took, or the code it failed with."""
    told = [one.code if isinstance(one, DomainError) else [event.stream_seq for event in one] for one in outcomes]
    failed = len(outcomes) == 1 and isinstance(outcomes[0], DomainError)
    return Answer(409 if failed else 201, orjson.dumps(told))


def submission(*parts: Part, atomic: bool = False, key: RequestKey | None = None) -> Submission:
    return Submission(parts, render, atomic, key)


def new_room(room_id: str) -> Part:
    return Part(
        Command(rooms.CreateRoom(title="Ops"), META, room_id, None, room_id),
        rooms.create,
        Stream("room", room_id),
        fresh_stream=True,
    )


def new_thread(room_id: str, thread_id: str) -> Part:
    command = Command(threads.CreateThread(title="Disk"), META, thread_id, room_id, room_id)
    return Part(command, threads.create, Stream("room", room_id), (room_id,))


def say(room_id: str, thread_id: str, text: str = "hello", decide: Decide = messages.create) -> Part:
    body = messages.CreateMessage(content_md=text)
    command = Command(body, META, ids.new_id(ids.MESSAGE), thread_id, room_id)
    return Part(command, decide, Stream("room", room_id), (thread_id, room_id))


def failing(_command: Command[Any], _view: View) -> list[NewEvent]:
    raise Conflict("told_to_fail", "A decider that refuses.")


@asynccontextmanager
async def running(postgres: Postgres, **options: Any) -> AsyncIterator[Appender]:
    appender = Appender(PostgresStore(postgres.api_url), **options)
    task = asyncio.create_task(appender.run())
    try:
        yield appender
    finally:
        await asyncio.wait_for(appender.stop(), 20)
        await task


async def told(future: "asyncio.Future[Answer]") -> Any:
    return orjson.loads((await asyncio.wait_for(future, 20)).body)


async def place(appender: Appender, room_id: str = "room_1", thread_id: str = "th_1") -> tuple[str, str]:
    await told(appender.submit(submission(new_room(room_id))))
    await told(appender.submit(submission(new_thread(room_id, thread_id))))
    return room_id, thread_id


async def history(postgres: Postgres, stream: Stream) -> list[Event]:
    connection = await asyncpg.connect(postgres.api_url)
    try:
        return await read_stream(connection, stream, 0, 100_000)
    finally:
        await connection.close()


async def check(postgres: Postgres) -> None:
    """No gap, no double, and every chain verifies."""
    connection = await asyncpg.connect(postgres.owner_url)
    try:
        report = await verify_store(connection)
        gaps = await connection.fetch(
            "select stream_id from evt_events group by stream_type, stream_id having count(*) <> max(stream_seq)"
        )
    finally:
        await connection.close()
    assert report.valid, report
    assert not gaps


async def test_many_callers_of_one_stream_share_commits_and_leave_no_gap(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        answers = await asyncio.gather(
            *(told(appender.submit(submission(say(room, thread, f"m{number}")))) for number in range(500))
        )
    assert sorted(seq for [[seq]] in answers) == list(range(3, 503))
    events = await history(postgres, Stream("room", room))
    assert [event.data["content_md"] for event in events[2:]] == [f"m{number}" for number in range(500)], (
        "arrival order is stream order"
    )
    await check(postgres)


async def test_a_failing_submission_fails_alone(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        decides: list[Decide] = [messages.create if number % 3 else failing for number in range(60)]
        answers = await asyncio.gather(
            *(told(appender.submit(submission(say(room, thread, decide=decide)))) for decide in decides)
        )
    assert [answer[0] for answer in answers if isinstance(answer[0], str)] == ["told_to_fail"] * 20
    assert sorted(answer[0][0] for answer in answers if isinstance(answer[0], list)) == list(range(3, 43))
    await check(postgres)


async def test_what_the_database_refuses_fails_alone(postgres: Postgres) -> None:
    def poisoned(command: Command[Any], view: View) -> list[NewEvent]:
        return [new._replace(actor=new.actor._replace(id="\x00")) for new in messages.create(command, view)]

    async with running(postgres) as appender:
        room, thread = await place(appender)
        futures = [
            appender.submit(submission(say(room, thread, decide=poisoned if number == 7 else messages.create)))
            for number in range(30)
        ]
        done = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 20)
    assert [number for number, answer in enumerate(done) if isinstance(answer, BaseException)] == [7]
    assert len(await history(postgres, Stream("room", room))) == 31
    await check(postgres)


async def test_an_event_that_is_too_large_is_refused_and_takes_no_number(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        refused = await told(appender.submit(submission(say(room, thread, "x" * (512 * 1024)))))
        assert refused == [TooLarge("event_too_large", "").code]
        assert await told(appender.submit(submission(say(room, thread)))) == [[3]]


async def test_atomic_parts_all_or_none(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        parts = [say(room, thread), say(room, thread, decide=failing), say(room, thread)]
        assert await told(appender.submit(submission(*parts, atomic=True))) == [[3], "told_to_fail"]
        assert await told(appender.submit(submission(*parts))) == [[3], "told_to_fail", [4]]
        assert await told(appender.submit(submission(say(room, thread), say(room, thread), atomic=True))) == [[5], [6]]
    assert [event.stream_seq for event in await history(postgres, Stream("room", room))] == [1, 2, 3, 4, 5, 6]
    await check(postgres)


async def test_two_writers_of_one_stream_neither_lose_nor_repeat(postgres: Postgres) -> None:
    async with running(postgres) as one, running(postgres) as other:
        room, thread = await place(one)
        answers = await asyncio.gather(
            *(
                told(appender.submit(submission(say(room, thread, f"{name}{number}"))))
                for number in range(150)
                for name, appender in (("a", one), ("b", other))
            )
        )
    assert sorted(seq for [[seq]] in answers) == list(range(3, 303))
    texts = [event.data["content_md"] for event in (await history(postgres, Stream("room", room)))[2:]]
    for name in "ab":
        assert [text for text in texts if text[0] == name] == [f"{name}{number}" for number in range(150)]
    await check(postgres)


async def test_two_writers_over_the_same_many_streams_do_not_deadlock(postgres: Postgres) -> None:
    async with running(postgres) as one, running(postgres) as other:
        places = await asyncio.gather(*(place(one, f"room_{number}", f"th_{number}") for number in range(20)))
        futures = [
            appender.submit(submission(say(*where))) for _ in range(15) for where in places for appender in (one, other)
        ]
        answers = await asyncio.wait_for(asyncio.gather(*futures), 60)
    assert {answer.status for answer in answers} == {201}
    await check(postgres)


def key(text: str, body: bytes = b"body") -> RequestKey:
    return RequestKey("ws_1", "open POST /x", text, hashlib.sha256(body).digest())


async def test_a_key_answers_again_from_another_process(postgres: Postgres) -> None:
    async with running(postgres) as one:
        room, thread = await place(one)
        first = await one.submit(submission(say(room, thread), key=key("k")))
        refused = await one.submit(submission(say(room, thread, decide=failing), key=key("f")))
    async with running(postgres) as other:
        again = await other.submit(submission(say(room, thread), key=key("k")))
        assert (again.status, again.body, again.replayed) == (first.status, first.body, True)
        stays = await other.submit(submission(say(room, thread), key=key("f")))
        assert (stays.status, stays.body, stays.replayed) == (409, refused.body, True)
        assert await told(other.submit(submission(say(room, thread), key=key("k", b"other")))) == [
            "idempotency_key_reused"
        ]
        assert await told(other.submit(submission(say(room, thread)))) == [[4]]
    await check(postgres)


async def test_a_key_raced_by_two_processes_appends_once(postgres: Postgres) -> None:
    async with running(postgres) as one, running(postgres) as other:
        room, thread = await place(one)
        for number in range(20):
            answers = await asyncio.gather(
                *(appender.submit(submission(say(room, thread), key=key(f"k{number}"))) for appender in (one, other))
            )
            assert answers[0].body == answers[1].body
            assert sorted(answer.replayed for answer in answers) == [False, True]
    assert len(await history(postgres, Stream("room", room))) == 22


async def test_a_key_is_free_again_after_a_day(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        await appender.submit(submission(say(room, thread), key=key("k")))
        await execute(postgres, "update evt_keys set created_at = now() - interval '24 hours 1 second'")
        again = await appender.submit(submission(say(room, thread), key=key("k", b"other")))
    assert (again.status, again.replayed) == (201, False)


async def test_a_full_queue_pushes_back_and_recovers(postgres: Postgres) -> None:
    async with running(postgres, max_waiting=10) as appender:
        room, thread = await place(appender)
        futures = [appender.submit(submission(say(room, thread))) for _ in range(10)]
        with pytest.raises(TryLater) as refused:
            appender.submit(submission(say(room, thread)))
        assert (refused.value.code, refused.value.retry_after_s) == ("append_queue_full", 1)
        assert {answer.status for answer in await asyncio.wait_for(asyncio.gather(*futures), 20)} == {201}
        assert await told(appender.submit(submission(say(room, thread)))) == [[13]]


async def test_the_queue_counts_commands_not_requests(postgres: Postgres) -> None:
    async with running(postgres, max_waiting=100) as appender:
        room, thread = await place(appender)
        bulk = submission(*(say(room, thread) for _ in range(60)))
        first, second = appender.submit(bulk), appender.submit(bulk)
        with pytest.raises(TryLater, match="append_queue_full"):
            appender.submit(submission(say(room, thread)))
        assert {(await first).status, (await second).status} == {201}
        assert appender.waiting == 0


async def test_a_lost_connection_is_said_and_mended(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        await cut(postgres)
        seen: set[int | str] = set()
        for _ in range(3):
            try:
                seen.add((await asyncio.wait_for(appender.submit(submission(say(room, thread))), 20)).status)
            except TryLater as error:
                seen.add(error.code)
        assert 201 in seen
        assert seen <= {201, "store_unavailable"}
    await check(postgres)


async def test_a_server_that_would_lose_data_is_written_to_no_more(postgres: Postgres) -> None:
    async with running(postgres) as appender:
        room, thread = await place(appender)
        database = postgres.api_url.rpartition("/")[2]
        await execute(postgres, f"alter database {database} set synchronous_commit = off")
        await cut(postgres)
        first = appender.submit(submission(say(room, thread)))  # it may notice the cut, or what came after
        assert isinstance(*await asyncio.wait_for(asyncio.gather(first, return_exceptions=True), 20), TryLater)
        before = len(await history(postgres, Stream("room", room)))
        with pytest.raises(TryLater, match="store_unavailable"):
            await asyncio.wait_for(appender.submit(submission(say(room, thread))), 20)
        assert len(await history(postgres, Stream("room", room))) == before
        await execute(postgres, f"alter database {database} reset synchronous_commit")
        assert await told(appender.submit(submission(say(room, thread)))) == [[before + 1]]


async def test_a_secret_is_gone_before_it_is_stored_and_the_fact_is_on_record(postgres: Postgres) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0"
    async with running(postgres) as appender:
        room, thread = await place(appender)
        assert await told(appender.submit(submission(say(room, thread, f"my key is {secret}!")))) == [[3, 4, 5]]
        assert await told(appender.submit(submission(say(room, thread)))) == [[6]]
    events = await history(postgres, Stream("room", room))
    assert [event.event_type for event in events[2:5]] == [
        "message.created",
        "event.redacted",
        "secret.leaked.detected",
    ]
    assert events[2].data["content_md"] == "my key is [redacted]!"
    assert (events[2].redaction_level, events[2].contains_secrets) == ("partial", True)
    assert {event.causation_id for event in events[3:5]} == {events[2].event_id}
    assert events[4].data["rule_ids"] == ["github_pat"]
    assert not any(secret in event.content for event in events)
    await check(postgres)


async def test_listeners_hear_every_commit_in_stream_order(postgres: Postgres) -> None:
    heard: list[Committed] = []
    async with running(postgres) as appender:
        appender.listen(heard.extend)
        room, thread = await place(appender)
        await asyncio.gather(*(appender.submit(submission(say(room, thread))) for _ in range(200)))
    assert [committed.event.stream_seq for committed in heard] == list(range(1, 203))
    assert all(orjson.loads(committed.json) == committed.event.envelope() for committed in heard)
    connection = await asyncpg.connect(postgres.owner_url)
    try:
        rows = await connection.fetch(
            "select position, stream_seq from evt_outbox, unnest(event_ids) with ordinality as e (event_id, place)"
            " join evt_events using (event_id) order by position, place"
        )
    finally:
        await connection.close()
    assert [(row["position"], row["stream_seq"]) for row in rows] == [
        (committed.position, committed.event.stream_seq) for committed in heard
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "update evt_events set actor_id = 'x'",
        "delete from evt_events",
        "truncate evt_events",
    ],
)
async def test_the_database_refuses_to_change_events(postgres: Postgres, statement: str) -> None:
    async with running(postgres) as appender:
        await place(appender)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await execute(postgres, statement)


SWITCHES = switches_id("ws_1")
HOME = Stream("workspace", "ws_1")


def unless_stopped(command: Command[Any], view: View) -> Sequence[NewEvent]:
    switches = view.get(KillSwitches, SWITCHES)
    if switches is not None and switches.engaged:
        raise Conflict("kill_switch_active", "It is stopped.")
    return messages.create(command, view)


def act(room_id: str, thread_id: str) -> Part:
    return say(room_id, thread_id, decide=unless_stopped)._replace(leans=((HOME, SWITCHES),))


def switch(action: Literal["engage", "release"]) -> Part:
    command = Command(SetKillSwitch(action=action, reason="trial"), META, SWITCHES, loaded=False)
    return Part(command, kill_switches.change, HOME, (SWITCHES,))


async def test_what_leans_on_another_stream_is_decided_anew_when_that_has_moved(postgres: Postgres) -> None:
    """Two processes: what one remembers of the workspace the other has changed, once the stream begins and later."""
    async with running(postgres) as one, running(postgres) as other:
        room, thread = await place(one)
        for _ in range(2):
            assert len((await told(one.submit(submission(act(room, thread)))))[0]) == 1
            await told(other.submit(submission(switch("engage"))))
            assert await told(one.submit(submission(act(room, thread)))) == ["kill_switch_active"]
            await told(other.submit(submission(switch("release"))))
    await check(postgres)


async def test_a_stop_waits_for_the_act_that_was_before_it(postgres: Postgres) -> None:
    """An act holds the heads that it leans on until it is committed, the one of a stream without events as well."""
    async with running(postgres) as one, running(postgres) as other:
        room, thread = await place(one)
        await told(one.submit(submission(act(room, thread))))
        connection = await asyncpg.connect(postgres.owner_url)
        watching = await asyncpg.connect(postgres.owner_url)
        try:
            # Another's event at the act's place, not committed: the act waits for it, and holds what it leans on.
            in_the_way = connection.transaction()
            await in_the_way.start()
            await connection.execute(IN_THE_WAY, room)
            acting = asyncio.ensure_future(one.submit(submission(act(room, thread))))
            await waits(watching, 1)
            stopping = asyncio.ensure_future(other.submit(submission(switch("engage"))))
            await waits(watching, 2)
            await in_the_way.rollback()
            await asyncio.wait_for(asyncio.gather(acting, stopping), 20)
            order = await connection.fetch(
                "select event_type from evt_outbox, unnest(event_ids) as e (event_id) join evt_events using (event_id)"
                " order by position desc limit 2"
            )
        finally:
            await watching.close()
            await connection.close()
    assert [row["event_type"] for row in order] == ["kill_switch.engaged", "message.created"]
    await check(postgres)


IN_THE_WAY = """
insert into evt_events (
    event_id, event_type, event_version, occurred_at, recorded_at, workspace_id, actor_type, actor_id,
    actor_principal_id, zone, stream_type, stream_id, stream_seq, entity_type, entity_id, entity_version,
    correlation_id, event_hash, content, data_digest
)
select
    gen_random_uuid(), event_type, event_version, occurred_at, recorded_at, workspace_id, actor_type, actor_id,
    actor_principal_id, zone, stream_type, stream_id, stream_seq + 1, entity_type, entity_id, entity_version + 1,
    correlation_id, event_hash, content, data_digest
from evt_events where stream_id = $1 order by stream_seq desc limit 1
"""


async def waits(connection: "asyncpg.Connection[asyncpg.Record]", sessions: int) -> None:
    """Until so many appenders wait for a lock."""
    async with asyncio.timeout(20):
        while (
            await connection.fetchval(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
                " and application_name = 'agentos-api appender' and datname = current_database()"
            )
            < sessions
        ):
            await CLOCK.sleep(0.01)


async def cut(postgres: Postgres) -> None:
    """Take the appender's connection away."""
    await execute(
        postgres,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'agentos-api appender' and datname = current_database()",
    )


async def execute(postgres: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.owner_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
