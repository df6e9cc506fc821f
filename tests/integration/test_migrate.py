"""Migrations: once, in order, unchanged, and only into a database that is ours; durability is not negotiable."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import TypeAlias

import asyncpg
import pytest
import pytest_asyncio

from agentos_runtime import prepare
from agentos_runtime.settings import ROLES
from agentos_shared.store import migrate
from agentos_shared.store.migrate import Migration
from tests.fixtures.stack import Postgres, PostgresServer, execute, server_url

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest_asyncio.fixture
async def owner(postgres: Postgres) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that nothing was done to."""
    admin = postgres_server.url("agentos", "postgres")
    asyncio.run(execute(admin, "create database empty"))
    yield server_url(admin, "empty")
    asyncio.run(execute(admin, "drop database empty with (force)"))


async def test_a_second_run_applies_nothing(owner: Connection) -> None:
    assert await migrate.migrate(owner) == []
    await migrate.check_schema(owner)
    await migrate.check_durability(owner)


async def test_runs_at_once_apply_each_migration_once(empty_url: str) -> None:
    connections = [await asyncpg.connect(empty_url) for _ in range(4)]
    try:
        with pytest.raises(migrate.SchemaRefused, match="no event store"):
            await migrate.check_schema(connections[0])
        applied = await asyncio.gather(*(migrate.migrate(connection) for connection in connections))
        assert sum(map(len, applied)) == len(migrate.migrations())
        await migrate.check_schema(connections[0])
    finally:
        for connection in connections:
            await connection.close()


def test_schema_sql_is_what_the_migrations_make() -> None:
    module = run_path(str(Path(__file__).parents[2] / "docs" / "generate_schema.py"))
    assert module["TARGET"].read_text(encoding="utf-8") == module["text"](), "run `make docs`"


async def test_a_foreign_schema_is_refused_by_name(empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    await connection.execute("create table orders (id int)")
    with pytest.raises(migrate.SchemaRefused, match=r"not ours \(public\.orders\)"):
        await migrate.migrate(connection)
    assert await connection.fetchval("select to_regclass('evt_events')") is None
    await connection.close()


async def test_a_changed_migration_is_refused_by_name(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = migrate.migrations()
    changed = (replace(first, sql=first.sql + "-- a word more"), *others)
    monkeypatch.setattr(migrate, "migrations", lambda: changed)
    for check in (migrate.migrate, migrate.check_schema):
        with pytest.raises(migrate.SchemaRefused, match="0001_event_store differs"):
            await check(owner)


async def test_a_newer_database_is_refused(owner: Connection) -> None:
    await owner.execute("insert into evt_migrations values (9999, 'from_the_future', 'x')")
    with pytest.raises(migrate.SchemaRefused, match="9999_from_the_future"):
        await migrate.migrate(owner)


async def test_a_failing_migration_leaves_nothing_behind(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Migration(9000, "bad", "create table half (id int); select 1 / 0;")
    both = (*migrate.migrations(), bad)
    monkeypatch.setattr(migrate, "migrations", lambda: both)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(owner)
    assert await owner.fetchval("select to_regclass('half')") is None
    with pytest.raises(migrate.SchemaRefused, match="lacks 9000_bad"):
        await migrate.check_schema(owner)


async def test_unsafe_durability_is_refused_by_name(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.api_url)
    await migrate.check_durability(connection)
    await connection.execute("set synchronous_commit = local")  # still flushes here
    await migrate.check_durability(connection)
    await connection.execute("set synchronous_commit = off")
    with pytest.raises(migrate.UnsafeSettings, match="synchronous_commit = off"):
        await migrate.check_durability(connection)
    await connection.close()


async def test_an_owner_that_is_no_superuser_can_migrate(postgres_server: PostgresServer) -> None:
    admin = postgres_server.url("agentos", "postgres")
    await execute(
        admin,
        "create role managed login createrole createdb password 'managed'",
        f"grant {', '.join(ROLES)} to managed with admin option",
    )
    url = admin.replace("agentos:" + postgres_server.passwords["agentos"], "managed:managed")
    connection = await prepare.connect(server_url(url, "managed_database"))
    try:
        assert len(await migrate.migrate(connection)) == len(migrate.migrations())
    finally:
        await connection.close()
        await execute(
            admin,
            "drop database managed_database with (force)",
            "reassign owned by managed to agentos",
            "drop owned by managed",
            "drop role managed",
        )


async def test_a_server_that_is_too_old_is_named(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 99)
    with pytest.raises(migrate.UnfitServer, match=r"Postgres 18.*needs 99 or newer"):
        await migrate.migrate(owner)


async def test_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    admin = postgres_server.url("agentos", "postgres")
    plain = "create database ascii encoding 'SQL_ASCII' locale 'C' locale_provider 'libc' template template0"
    await execute(admin, plain)
    try:
        connection = await asyncpg.connect(server_url(admin, "ascii"))
        try:
            with pytest.raises(migrate.UnfitServer, match="SQL_ASCII"):
                await migrate.migrate(connection)
        finally:
            await connection.close()
    finally:
        await execute(admin, "drop database ascii with (force)")
