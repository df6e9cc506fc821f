"""The projector's tables: made when they are missing, recognised when their definition has changed.

They are never migrated. Their fingerprint is kept in ``proj_definition``; when it is another than that of this program,
they are rebuilt from the events.
"""

import re
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from agentos_projector.projections.projection import Projection, fingerprint
from agentos_shared.store import statements
from agentos_shared.store.checkpoints import Checkpoints
from agentos_shared.store.reader import Connection

log = structlog.get_logger("agentos.projector")

PREFIX: Final = "proj"
SQL: Final = statements.load("agentos_projector", "tables.sql")
#: A store with more events than this, of which nothing was projected yet, is projected faster by a rebuild.
FIRST_BACKLOG: Final = 50_000
_INDEX_NAME: Final = re.compile(r"create index concurrently if not exists (\w+)")

#: Plans must stay index scans over the given ranges, however the table has grown since they were made. A projection is
#: derived, so a commit need not wait for the disk: after a crash, rows and checkpoints are older together.
SESSION: Final = {
    "application_name": "agentos-projector",
    "search_path": "proj, public",
    "synchronous_commit": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

#: For work on whole tables: beside :data:`SESSION`, without the time-outs that the role has.
UNHURRIED: Final = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}


class SchemaMissing(Exception):
    """The database has no schema ``proj`` yet: its migrations have not run."""


async def become_owner(connection: Connection) -> None:
    """Act as the owner of schema ``proj`` for the rest of the session, so that the projector owns what is made here.

    Raises:
        SchemaMissing: there is none.
    """
    row = await connection.fetchrow(SQL["schema_owner"])
    if row is None:
        raise SchemaMissing("the database has no schema proj; its migrations must run first")
    if not row["own"]:
        await connection.execute(f"set role {row['owner']}")


async def prepare(connection: Connection, projections: Sequence[Projection]) -> bool:
    """Make the tables where nothing was projected yet. False when they must be rebuilt before they can be used."""
    async with connection.transaction():
        await connection.execute(SQL["lock"])
        await connection.execute(SQL["definition_table"])
        await Checkpoints(PREFIX).create_tables(connection)
        missing = {row["name"] for row in await connection.fetch(SQL["missing_tables"], [p.table for p in projections])}
        known = await connection.fetchval(SQL["read_fingerprint"])
        current = fingerprint(projections)
        if known == current and not missing:
            return True
        if known is not None or await connection.fetchval(SQL["has_progress"]):
            log.info("projections_changed", missing=sorted(missing))
            return False
        if await connection.fetchval(SQL["events"]) > FIRST_BACKLOG:
            return False
        for projection in projections:
            if projection.table in missing:
                await create(connection, projection)
        await connection.execute(SQL["write_fingerprint"], current)
        return True


async def create(connection: Connection, projection: Projection, suffix: str = "", *, indexes: bool = True) -> None:
    """Make the table of a projection, with what its readers need."""
    for name in ("table", "indexes") if indexes else ("table",):
        await connection.execute(projection.ddl(name, suffix))


async def build_search_indexes(connection: Connection, projections: Sequence[Projection]) -> list[str]:
    """Build the search indexes that are missing, without blocking writers. Returns the names of those built.

    Another process that builds is left to it. What a killed one left half done is dropped first. It may take minutes,
    and waits for transactions that are older: the connection must have no time-outs (:data:`UNHURRIED`).
    """
    wanted = {
        match.group(1): text
        for projection in projections
        for text in projection.search_indexes()
        if (match := _INDEX_NAME.search(text))
    }
    rows = await connection.fetch(SQL["index_states"], list(wanted))
    if {row["relname"] for row in rows if row["indisvalid"]} == set(wanted):
        return []
    if not await connection.fetchval(SQL["try_hold_indexes"]):
        return []
    built: list[str] = []
    try:
        states = {
            row["relname"]: row["indisvalid"] for row in await connection.fetch(SQL["index_states"], list(wanted))
        }
        for name, text in wanted.items():
            if states.get(name):
                continue
            if name in states:
                await connection.execute(f"drop index concurrently {name}")
            await connection.execute(text)
            built.append(name)
            log.info("index_built", index=name)
    finally:
        if not connection.is_closed():
            await connection.fetchval(SQL["release_indexes"])
    return built


async def clean_pending(connection: Connection) -> None:
    """Work off what inserts have queued in the search indexes."""
    await connection.fetchval(SQL["clean_pending"])


async def open_session(url: str, **options: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection that works on the projector's tables as their owner.

    Raises:
        SchemaMissing: as :func:`become_owner`.
    """
    connection = await asyncpg.connect(url, server_settings=SESSION | options)
    try:
        await become_owner(connection)
    except BaseException:
        await connection.close()
        raise
    return connection
