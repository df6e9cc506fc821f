"""Writes schema.sql of the event store: what the migrations make, as Postgres itself tells it. A test compares."""

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path

from agentos_runtime import binaries, database, postgres, prepare
from agentos_runtime.datadir import DataDir
from agentos_runtime.settings import ROLES, Settings

TARGET = Path(__file__).parents[1] / "libs" / "shared" / "agentos_shared" / "store" / "schema.sql"
HEAD = """\
-- The event store's schema after all migrations, for reading (`make docs` writes it); migrations/ is what is applied.
-- Schemas proj and eng hold the projections and the leases, which projector and engine make and rebuild by themselves.
"""


def text() -> str:
    """The schema, made in a server of its own."""
    with tempfile.TemporaryDirectory(prefix="agentos-schema-") as directory:
        return HEAD + _tidy(asyncio.run(_dump(DataDir(Path(directory)))))


async def _dump(data: DataDir) -> str:
    data.create()
    passwords = data.passwords([postgres.OWNER, *ROLES])
    await postgres.initialise(data.postgres, passwords[postgres.OWNER], sync=False)
    async with database.owner_url(Settings(data.root)) as url:
        await prepare.database(prepare.Roles(url, passwords, {}))
        command = [str(binaries.postgres_bin() / "pg_dump"), "--schema-only", "--no-owner", "--dbname", url]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, timeout=60)
        return str(done.stdout)


def _tidy(dump: str) -> str:
    """Without what is not schema: session settings, comments, and the token that guards psql."""
    kept = [
        line
        for line in dump.splitlines()
        if not re.match(r"--|SET |SELECT pg_catalog\.set_config|\\(un)?restrict ", line)
    ]
    return re.sub(r"\n{2,}", "\n\n", "\n".join(kept)).strip() + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
