"""The relay: from the outbox to JetStream, with real servers."""

import orjson
import pytest

from agentos_api.relay.pipeline import Outgoing, Pipeline, PublishFailed
from agentos_api.relay.relay import Relay
from agentos_shared.contracts import subjects
from tests.fixtures.live import MOMENT, WORKSPACE, Line, assert_each_once_in_order, opened_store, until
from tests.fixtures.stack import Postgres

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_message_carries_the_envelope_and_its_headers(line: Line) -> None:
    await line.store.append("room_a", traceparent=TRACE)
    await line.drained()
    message = await line.bus.js.get_last_msg(subjects.EVENTS_STREAM, subjects.events_of("room", "room_a"))
    event = line.store.events[0]
    assert message.subject == f"agentos.evt.{WORKSPACE}.room.room_a.message.created"
    assert orjson.loads(message.data or b"") == event.envelope()
    assert message.headers is not None
    assert {name: value for name, value in message.headers.items() if not name.startswith("Nats-Expected")} == {
        "Nats-Msg-Id": event.event_id,
        "agentos-stream-seq": "1",
        "traceparent": TRACE,
        "ce-specversion": "1.0",
        "ce-id": event.event_id,
        "ce-source": f"/agentos/{WORKSPACE}/room/room_a",
        "ce-type": "message.created",
        "ce-time": MOMENT.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ce-subject": "message/msg_room_a_1",
        "content-type": "application/json",
    }


async def test_the_stream_has_the_settings_of_the_contract(line: Line) -> None:
    await line.store.append("room_a")
    await line.drained()
    config = (await line.bus.js.stream_info(subjects.EVENTS_STREAM)).config
    assert (config.subjects, config.max_consumers, config.duplicate_window) == (["agentos.evt.>"], 256, 120)
    assert (str(config.storage), str(config.discard), config.num_replicas, config.allow_direct) == (
        "file",
        "old",
        1,
        True,
    )
    assert (config.max_bytes or 0) > 0


async def test_commits_from_memory_and_from_the_table_mix_in_stream_order(line: Line) -> None:
    for turn in range(40):
        committed = await line.store.append("room_a", "room_b", f"room_{turn}", "room_a")
        if turn % 3:  # the others are found by the poll, or because a later one is ahead
            line.relay.on_commit(committed)
    await line.check()


async def test_a_commit_of_another_process_is_announced_by_a_ping(line: Line) -> None:
    other = Relay(line.postgres.api_url, line.client)
    await other.start()
    try:
        times = []
        for _ in range(5):
            other.on_commit(await line.store.append("room_a"))
            times.append(await line.holds_all())
        assert sorted(times)[2] < 0.2  # the poll alone takes 0.25 s on the average
    finally:
        await other.stop()


async def test_a_late_commit_with_a_lower_position_is_not_skipped(line: Line, postgres: Postgres) -> None:
    async with opened_store(postgres.owner_url) as late:
        first = late.event("room_late")
        async with late.connection.transaction():
            await late.insert([first])
            await line.store.append("room_a")  # a higher position, committed earlier
            await line.holds_all()
        line.store.events.append(first)
        await line.check()


async def test_rows_that_were_published_already_are_deleted_and_not_published_again(line: Line) -> None:
    await line.store.append("room_a", "room_a", "room_b")
    await line.drained()
    await line.store.connection.execute("insert into evt_outbox (event_ids) select array_agg(event_id) from evt_events")
    await line.check()


async def test_holes_in_the_store_do_not_keep_other_events_back(line: Line) -> None:
    await line.relay.stop()
    made = [one.event for one in await line.store.append("room_a", "room_a", "room_a", "room_b", "room_b", "room_c")]
    lost = [made[1], made[4]]  # in the middle of one stream, and at the end of another
    async with line.store.connection.transaction():
        await line.store.connection.execute("alter table evt_events disable trigger evt_events_append_only")
        await line.store.connection.execute(
            "delete from evt_events where event_id = any($1::uuid[])", [event.event_id for event in lost]
        )
        await line.store.connection.execute("alter table evt_events enable always trigger evt_events_append_only")
    for event in lost:
        line.store.events.remove(event)
    await line.relay.start()
    await line.holds_all()
    line.relay.on_commit(await line.store.append("room_b", "room_c"))
    await line.check()


async def test_more_commits_than_memory_takes_are_read_from_the_table(line: Line) -> None:
    line.relay._memory._max_events = 10
    for _ in range(5):
        line.relay.on_commit(await line.store.append(*["room_a"] * 20))
    await line.check()


async def test_a_deposed_publisher_is_refused_by_the_server(line: Line) -> None:
    """However late its messages come: here another publisher went on after the stream was read."""
    await line.store.append("room_a")
    await line.drained()
    await line.relay.stop()
    pipelines = [Pipeline(line.client, acked=lambda _: None, woken=lambda: None) for _ in range(2)]
    for pipeline in pipelines:
        await pipeline.open()
        pipeline.restart(1)

    def outgoing(room: str) -> Outgoing:
        event = line.store.event(room)
        return Outgoing(event, event.envelope_json(), None, None)

    successor, deposed = pipelines
    await successor.publish([outgoing("room_b")])
    await until(lambda: successor.in_flight == 0)
    expected = list(line.store.events)
    await deposed.publish([outgoing("room_c") for _ in range(10)])
    with pytest.raises(PublishFailed, match="wrong last"):
        await until(lambda: _refused(deposed))
    assert_each_once_in_order(await line.bus.contents(), expected)


async def test_leadership_passes_on_when_the_leader_stops(line: Line) -> None:
    other = Relay(line.postgres.api_url, line.client)
    await other.start()
    try:
        await line.store.append("room_a")
        await line.drained()
        assert not other.leading
        await line.relay.stop()
        await line.store.append("room_a", "room_b")
        assert await until(lambda: other.leading) < 2
        await line.check()
    finally:
        await other.stop()


async def test_a_leader_whose_lock_is_taken_away_comes_back(line: Line) -> None:
    await line.store.connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentos-api relay'"
    )
    line.relay.on_commit(await line.store.append("room_a"))
    await line.check()
    assert line.relay.leading


def _refused(pipeline: Pipeline) -> bool:
    pipeline.check()
    return False
