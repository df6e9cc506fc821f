"""Migrations: once, in order, unchanged, and only into a database that is ours; durability is not negotiable."""

import asyncio
import base64
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from agentos_shared.store import migrate
from tests.fixtures.stack import Postgres, execute, server_url


@pytest_asyncio.fixture
async def owner(postgres: Postgres) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(postgres.owner_url)
    yield connection
    await connection.close()


async def test_a_second_run_applies_nothing(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    assert await migrate.migrate(owner) == []
    await migrate.check_schema(owner)
    await migrate.check_durability(owner)
