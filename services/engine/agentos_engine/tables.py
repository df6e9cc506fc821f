"""The engine's tables: made when they are missing, made anew when their definition has changed."""

import hashlib
from importlib.resources import files
from typing import Final

import structlog

from agentos_shared.store import statements
from agentos_shared.store.checkpoints import Checkpoints
from agentos_shared.store.reader import Connection

log = structlog.get_logger("agentos.engine")

PREFIX: Final = "eng"
SQL: Final = statements.load("agentos_engine", "tables.sql")
#: Whose word decides how events become rows.
_DEFINED_BY: Final = ("tables.sql", "runs.sql", "runs.py")

#: Plans must stay short scans of an index, however the tables have grown since they were made. The tables are derived,
#: so a commit need not wait for the disk: after a crash, rows and checkpoints are older together.
SESSION: Final = {
    "application_name": "agentos-engine",
    "search_path": "eng, public",
    "synchronous_commit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


def fingerprint() -> str:
    """Changes whenever the definition does."""
    package = files("agentos_engine")
    text = "".join(package.joinpath(name).read_text(encoding="utf-8") for name in _DEFINED_BY)
    return hashlib.sha256(text.encode()).hexdigest()


async def prepare(connection: Connection) -> None:
    """Make the tables, empty, unless they are there as this version wants them; the consumer then fills them.

    The connection is the service's own: what it makes belongs to its role.
    """
    async with connection.transaction():
        await connection.execute(SQL["lock"])
        await connection.execute(SQL["definition_table"])
        current = fingerprint()
        if await connection.fetchval(SQL["read_fingerprint"]) == current:
            return
        log.info("tables_made_anew")
        await connection.execute(SQL["drop"])
        await connection.execute(SQL["tables"])
        await Checkpoints(PREFIX).create_tables(connection)
        await connection.execute(SQL["write_fingerprint"], current)
