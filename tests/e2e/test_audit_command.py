"""``agentos audit verify`` straight from the database: what it tells, and its exit code."""

import asyncio
import json

import asyncpg

from agentos_shared.domain.envelope import Stream
from tests.fixtures.chain import chain, store
from tests.fixtures.stack import Postgres, agentos, execute

TAMPER = (
    "alter table evt_events disable trigger user",
    "update evt_events set content = replace(content, 'Text', 'Lies') where stream_id = 'room_b' and stream_seq = 11",
    "delete from evt_events where stream_id = 'room_c' and stream_seq = 700",
    "alter table evt_events enable trigger user",
)


def fill(postgres: Postgres) -> None:
    async def insert() -> None:
        connection = await asyncpg.connect(postgres.owner_url)
        rooms = [("room_a", 3), ("room_b", 12), ("room_c", 900)]
        await store(connection, [event for room, length in rooms for event in chain(Stream("room", room), length)])
        await connection.close()

    asyncio.run(insert())


def test_it_names_every_bad_stream_and_its_first_bad_event(postgres: Postgres) -> None:
    fill(postgres)
    environment = {"AGENTOS_POSTGRES_URL": postgres.owner_url, "COLUMNS": "200"}
    well = agentos("audit", "verify", env=environment)
    assert well.returncode == 0, well.stderr
    assert "The chain holds in 3 streams: 915 events" in well.stdout

    asyncio.run(execute(postgres.owner_url, *TAMPER))
    bad = agentos("audit", "verify", env=environment)
    assert bad.returncode == 1
    assert "room/room_b" in bad.stdout
    assert "data_digest_mismatch" in bad.stdout
    assert "room/room_c" in bad.stdout
    assert "sequence_gap" in bad.stdout
    assert "room/room_a" not in bad.stdout
    assert "broken in 2 of 3 streams" in bad.stdout

    report = json.loads(agentos("audit", "verify", "--json", env=environment).stdout)
    assert report["valid"] is False
    named = {stream["stream_id"]: stream["first_mismatch"] for stream in report["bad"]}
    assert {name: (bad["stream_seq"], bad["kind"]) for name, bad in named.items()} == {
        "room_b": (11, "data_digest_mismatch"),
        "room_c": (701, "sequence_gap"),
    }

    one = agentos("audit", "verify", "--stream", "room/room_a", env=environment)
    assert (one.returncode, "1 stream: 3 events" in one.stdout) == (0, True)
    told = json.loads(agentos("audit", "verify", "--stream", "room/room_a", "--json", env=environment).stdout)
    assert (told["valid"], told["checked"], told["head_seq"]) == (True, 3, 3)
    assert told["last_event_hash"] == chain(Stream("room", "room_a"), 3)[-1].event_hash
    assert agentos("audit", "verify", "--stream", "room/room_b", env=environment).returncode == 1
    assert agentos("audit", "verify", "--stream", "room_b", env=environment).returncode == 2
    unknown = agentos("audit", "verify", "--stream", "room/none", env=environment)
    assert unknown.returncode == 1
    assert "holds no events" in unknown.stderr


def test_a_database_that_is_not_there_is_exit_code_three() -> None:
    gone = agentos("audit", "verify", env={"AGENTOS_POSTGRES_URL": "postgresql://u:hunter2@127.0.0.1:1/agentos"})
    assert gone.returncode == 3
    assert "hunter2" not in gone.stdout + gone.stderr
