"""What each service's Postgres role and NATS user may do is what ARCHITECTURE.md says, and no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
import pytest
import pytest_asyncio
from nats import connect
from nats.aio.client import Client
from nats.aio.msg import Msg

from agentos_engine import tables
from agentos_runtime import probe
from agentos_shared.contracts import subjects
from agentos_shared.contracts.subjects import EVENTS_STREAM, EVENTS_SUBJECTS, PROJECTOR_DURABLE
from agentos_shared.domain.envelope import Stream
from tests.fixtures.chain import chain, store
from tests.fixtures.stack import Nats, Postgres, execute

DENIED = asyncpg.InsufficientPrivilegeError

API_MAY_NOT = [
    "update evt_events set zone = 'x'",
    "delete from evt_events",
    "truncate evt_events",
    "delete from evt_stream_heads",
    "alter table evt_events disable trigger all",
    "drop table evt_keys",
    "create table mine (id int)",
    "create table proj.mine (id int)",
    "insert into evt_migrations values (9, 'x', 'x')",
    "create role mine",
    "set role agentos_projector",
    "set role agentos_engine",
    "set role agentos_gateway",
    "select * from gw.gw_sends",
    "create table eng.mine (id int)",
    "set session_replication_role = replica",
]
PROJECTOR_MAY_NOT = [
    "insert into evt_stream_heads values ('room', 'r', 'w', 0, null)",
    "update evt_stream_heads set seq = 0",
    "update evt_events set zone = 'x'",
    "delete from evt_events",
    "select * from evt_keys",
    "select * from evt_outbox",
    "create table mine (id int)",
    "set role agentos_api",
]
ENGINE_MAY_NOT = [
    "insert into evt_stream_heads values ('room', 'r', 'w', 0, null)",
    "update evt_events set zone = 'x'",
    "delete from evt_events",
    "select * from evt_keys",
    "select * from evt_outbox",
    "create table public.mine (id int)",
    "create table proj.mine (id int)",
    "create temporary table mine (id int)",
    "set role agentos_api",
]
GATEWAY_MAY_NOT = [
    "insert into evt_stream_heads values ('room', 'r', 'w', 0, null)",
    "update evt_events set zone = 'x'",
    "select * from evt_keys",
    "select * from evt_outbox",
    "create table public.mine (id int)",
    "create table gw.mine (id int)",
    "drop table gw.gw_sends",
    "create temporary table mine (id int)",
    "set role agentos_api",
]
OWNER_MAY_NOT = ["update evt_events set zone = 'x'", "delete from evt_events", "truncate evt_events"]


@pytest.mark.parametrize("statement", API_MAY_NOT)
async def test_the_api_may_not(postgres: Postgres, statement: str) -> None:
    with pytest.raises(DENIED):
        await execute(postgres.api_url, statement)


@pytest.mark.parametrize("statement", PROJECTOR_MAY_NOT)
async def test_the_projector_may_not(postgres: Postgres, statement: str) -> None:
    with pytest.raises(DENIED):
        await execute(postgres.projector_url, statement)


@pytest.mark.parametrize("statement", ENGINE_MAY_NOT)
async def test_the_engine_service_may_not(postgres: Postgres, statement: str) -> None:
    with pytest.raises(DENIED):
        await execute(postgres.engine_url, statement)


@pytest.mark.parametrize("statement", GATEWAY_MAY_NOT)
async def test_the_gateway_may_not(postgres: Postgres, statement: str) -> None:
    with pytest.raises(DENIED):
        await execute(postgres.gateway_url, statement)


async def test_the_api_reads_leases_and_nothing_else_of_the_engine_service(postgres: Postgres) -> None:
    await execute(postgres.api_url, "select * from eng.eng_leases_public")
    engine = await asyncpg.connect(postgres.engine_url)
    await tables.prepare(engine)
    await engine.close()
    api = await asyncpg.connect(postgres.api_url)
    assert await api.fetch("select * from eng.eng_leases_public") == []
    for statement in ("select * from eng.eng_runs", "delete from eng.eng_leases_public"):
        with pytest.raises(DENIED):
            await api.execute(statement)
    await api.close()


async def test_the_services_may_do_their_work(postgres: Postgres) -> None:
    api = await asyncpg.connect(postgres.api_url)
    await store(api, chain(Stream("room", "room_1"), 3))
    await api.execute("update evt_stream_heads set seq = 3")
    await api.execute("insert into evt_outbox (event_ids) values (array[gen_random_uuid()])")
    await api.execute("delete from evt_outbox")
    await api.execute("insert into evt_keys values ('w', 'request', 'k', 'f', null, 200, 'a')")
    await api.execute("delete from evt_keys")
    await execute(
        postgres.projector_url,
        "select * from evt_events, evt_stream_heads",
        "create table proj.proj_things (id int)",
        "insert into proj.proj_things values (1)",
        "create temporary table copied (id int)",
    )
    assert await api.fetchval("select count(*) from proj_things") == 1  # found by search_path, readable by default
    with pytest.raises(DENIED):
        await api.execute("delete from proj_things")
    await api.close()


@pytest.mark.parametrize("statement", OWNER_MAY_NOT)
async def test_even_the_owner_cannot_change_events(postgres: Postgres, statement: str) -> None:
    owner = await asyncpg.connect(postgres.owner_url)
    await store(owner, chain(Stream("room", "room_1"), 2))
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await owner.execute(statement)
    await owner.close()


@pytest.mark.parametrize("role", ["api_url", "projector_url", "engine_url", "gateway_url"])
async def test_a_hanging_session_of_a_service_is_ended(postgres: Postgres, role: str) -> None:
    connection = await asyncpg.connect(getattr(postgres, role))
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert await connection.fetchval("select current_setting($1)", setting) not in ("0", ""), setting
    await connection.close()


@dataclass
class User:
    """A connection of one NATS user, and what the server refused it."""

    connection: Client
    refusals: "asyncio.Queue[str]"

    async def refused(self, subject: str) -> bool:
        """Whether publishing there is a permissions violation."""
        await self.connection.publish(subject, b"{}")
        # nats-py's flush overtakes what was published before it, so that only time tells that nothing comes.
        try:
            async with asyncio.timeout(2):
                return subject.lower() in await self.refusals.get()
        except TimeoutError:
            return False


@pytest_asyncio.fixture
async def log_in(nats: Nats) -> AsyncIterator[Callable[[str], Awaitable[User]]]:
    made: list[Client] = []

    async def log_in(name: str) -> User:
        refusals: asyncio.Queue[str] = asyncio.Queue()

        async def note(error: Exception) -> None:
            refusals.put_nowait(str(error).lower())

        connection = await connect(nats.url(name), error_cb=note, inbox_prefix=f"_INBOX_{name}", connect_timeout=5)
        made.append(connection)
        return User(connection, refusals)

    yield log_in
    for connection in made:
        await connection.close()


LogIn: TypeAlias = Callable[[str], Awaitable[User]]

EVENT = subjects.event("ws_dev", "room", "room_1", "message.created")
NATS_MAY_NOT = {
    "integration": [
        EVENT,
        "agentos.ping.outbox",
        "agentos.svc.projector.incident.create",
        subjects.health("projector"),
        f"$JS.API.STREAM.DELETE.{EVENTS_STREAM}",
        f"$JS.API.STREAM.PURGE.{EVENTS_STREAM}",
        f"$JS.API.STREAM.UPDATE.{EVENTS_STREAM}",
        f"$JS.API.STREAM.MSG.DELETE.{EVENTS_STREAM}",
        f"$JS.API.CONSUMER.DELETE.{EVENTS_STREAM}.{PROJECTOR_DURABLE}",
        f"$JS.API.CONSUMER.CREATE.{EVENTS_STREAM}.{PROJECTOR_DURABLE}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{EVENTS_STREAM}.{PROJECTOR_DURABLE}",
        f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.{PROJECTOR_DURABLE}",
        f"$JS.ACK.{EVENTS_STREAM}.{PROJECTOR_DURABLE}.1.1.1.1.1",
        "_INBOX_api.forged",
    ],
    "projector": [
        EVENT,
        "agentos.cmd.ws_dev.room.create",
        "agentos.svc.engine.run.claim",
        f"$JS.API.STREAM.DELETE.{EVENTS_STREAM}",
        f"$JS.API.STREAM.MSG.DELETE.{EVENTS_STREAM}",
        f"$JS.API.CONSUMER.DELETE.{EVENTS_STREAM}.another",
        "_INBOX_api.forged",
    ],
    "engine": [
        EVENT,
        "agentos.cmd.ws_dev.room.create",
        "agentos.svc.projector.incident.create",
        subjects.PING_RUNS,
        f"$JS.API.STREAM.DELETE.{EVENTS_STREAM}",
        f"$JS.API.CONSUMER.DELETE.{EVENTS_STREAM}.{PROJECTOR_DURABLE}",
        "_INBOX_api.forged",
    ],
    "gateway": [
        EVENT,
        "agentos.cmd.ws_dev.room.create",
        "agentos.svc.engine.run.claim",
        subjects.POLICY_SIMULATE,
        subjects.ENGINE_CLAIM,
        f"$JS.API.CONSUMER.DELETE.{EVENTS_STREAM}.{PROJECTOR_DURABLE}",
        "_INBOX_api.forged",
    ],
    "api": ["$JS.API.STREAM.DELETE.ANOTHER", "agentos.svc.engine.run.claim", "_INBOX_engine.forged"],
    "supervisor": [EVENT, "agentos.cmd.ws_dev.room.create", f"$JS.API.STREAM.DELETE.{EVENTS_STREAM}"],
}


@pytest.mark.parametrize("user", NATS_MAY_NOT)
async def test_a_nats_user_may_not(log_in: LogIn, user: str) -> None:
    it = await log_in(user)
    assert [subject for subject in NATS_MAY_NOT[user] if not await it.refused(subject)] == []


async def test_nobody_reads_another_users_inbox(log_in: LogIn) -> None:
    it = await log_in("integration")
    await it.connection.subscribe("_INBOX_api.>")
    async with asyncio.timeout(5):
        assert "_inbox_api" in await it.refusals.get()


@pytest.mark.parametrize("password", [None, "guess"])
async def test_a_stranger_is_refused(nats: Nats, password: str | None) -> None:
    found = await probe.nats("127.0.0.1", nats.port, "integration" if password else None, password)
    assert found.answer is probe.Answer.NOT_READY
    assert "Authorization" in found.detail


async def test_an_integration_reads_events_and_asks_for_commands(log_in: LogIn) -> None:
    api, integration = await log_in("api"), await log_in("integration")
    await api.connection.jetstream().add_stream(name=EVENTS_STREAM, subjects=[EVENTS_SUBJECTS])
    try:
        live = await integration.connection.subscribe(EVENTS_SUBJECTS)
        await integration.connection.flush()
        await api.connection.jetstream().publish(EVENT, b"{}")
        assert (await live.next_msg(5)).subject == EVENT
        stored = await integration.connection.jetstream().subscribe(EVENTS_SUBJECTS, ordered_consumer=True)
        assert (await stored.next_msg(5)).subject == EVENT

        async def answer(message: Msg) -> None:
            await message.respond(b"done")

        await api.connection.subscribe("agentos.cmd.>", cb=answer)
        await api.connection.flush()
        reply = await integration.connection.request("agentos.cmd.ws_dev.room.create", b"{}", timeout=5)
        assert reply.data == b"done"
        assert integration.refusals.empty()
        assert api.refusals.empty()
    finally:
        await api.connection.jetstream().delete_stream(EVENTS_STREAM)
