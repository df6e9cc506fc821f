"""The schema of the event store: numbered migrations, each applied once, and what must hold before anyone serves.

A migration that was applied never changes: its checksum is compared at every start. The owner runs ``migrate``; each
service calls ``check_schema`` and ``check_durability`` on a connection of its own role before it serves.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from agentos_shared.store import statements
from agentos_shared.store.reader import Connection

SQL: Final = statements.load("agentos_shared.store", "migrate.sql")

#: Any number that no other advisory lock of ours has: the first bytes of sha256("agentos migrations").
LOCK: Final = int.from_bytes(hashlib.sha256(b"agentos migrations").digest()[:8], "big", signed=True)

#: Roles are granted with the option SET, which came with 16; the tests ran on 16.14, 17.10 and 18.6.
OLDEST_SERVER: Final = 16

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class StoreRefused(Exception):
    """The database is not one that Agent OS may serve from; the message names what is wrong and the next step."""


class SchemaRefused(StoreRefused):
    """Foreign, changed, newer or not yet migrated."""


class UnfitServer(StoreRefused):
    """Postgres itself is too old, or lacks what the schema needs."""


class UnsafeSettings(StoreRefused):
    """A setting of the server could lose what was acknowledged."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``migrations/``."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this version, in order.

    Raises:
        ValueError: a file is misnamed, or a number stands twice.
    """
    found = []
    for file in files("agentos_shared.store").joinpath("migrations").iterdir():
        if not file.name.endswith(".sql"):
            continue
        parts = _FILE.fullmatch(file.name)
        if parts is None:
            raise ValueError(f"{file.name} is not named NNNN_what.sql")
        found.append(Migration(int(parts[1]), parts[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if len({migration.version for migration in found}) != len(found):
        raise ValueError(f"two migrations have the same number: {[migration.version for migration in found]}")
    return tuple(found)


def fingerprint() -> str:
    """Changes whenever a migration is added: tells a schema that is up to date from one that is not."""
    return hashlib.sha256("".join(migration.checksum for migration in migrations()).encode()).hexdigest()


async def migrate(connection: Connection) -> list[str]:
    """Applies what is missing, one transaction each; several callers at once wait for each other.

    Args:
        connection: of the owner of the database, outside a transaction.

    Returns:
        names of the migrations that were applied now.

    Raises:
        SchemaRefused: the schema is not ours, is newer, or an applied migration has changed since.
        UnfitServer: as ``check_server`` says.
    """
    await check_server(connection)
    await connection.execute(SQL["lock"], LOCK)
    try:
        if await connection.fetchval(SQL["is_migrated"]) is None:
            await _require_empty(connection)
            await connection.execute(SQL["create_table"])
        pending = _pending(await connection.fetch(SQL["applied"]))
        for migration in pending:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(SQL["record"], migration.version, migration.name, migration.checksum)
        return [f"{migration.version:04}_{migration.name}" for migration in pending]
    finally:
        await connection.execute(SQL["unlock"], LOCK)


async def _require_empty(connection: Connection) -> None:
    foreign = [row["name"] for row in await connection.fetch(SQL["relations"])]
    if foreign:
        raise SchemaRefused(
            f"The database holds a schema that is not ours ({', '.join(foreign[:5])}{', ...' if foreign[5:] else ''}): "
            "give Agent OS an empty database."
        )


def _pending(applied: Sequence[object]) -> list[Migration]:
    known = {migration.version: migration for migration in migrations()}
    done = set()
    for row in applied:
        version, name, checksum = row["version"], row["name"], row["checksum"]  # type: ignore[index]
        migration = known.get(version)
        if migration is None:
            raise SchemaRefused(
                f"The database has migration {version:04}_{name}, which this version of Agent OS does not know: "
                "it was written by a newer one; upgrade, or restore a backup from before."
            )
        if migration.checksum != checksum:
            raise SchemaRefused(
                f"Migration {version:04}_{name} differs from the one that was applied to this database: "
                "an applied migration never changes; restore its file and add a new migration."
            )
        done.add(version)
    return [migration for migration in migrations() if migration.version not in done]


async def check_schema(connection: Connection) -> None:
    """For a service, before it serves.

    Raises:
        SchemaRefused: migrations are missing, changed, or newer than this version.
    """
    if await connection.fetchval(SQL["is_migrated"]) is None:
        raise SchemaRefused("The database has no event store yet: `agentos up` or `agentos migrate` makes it.")
    pending = _pending(await connection.fetch(SQL["applied"]))
    if pending:
        names = ", ".join(f"{migration.version:04}_{migration.name}" for migration in pending)
        raise SchemaRefused(f"The database lacks {names}: `agentos up` or `agentos migrate` applies it.")


async def check_server(connection: Connection) -> None:
    """What no migration can mend.

    Raises:
        UnfitServer: names what is wrong and the next step.
    """
    server = await connection.fetchrow(SQL["server"])
    assert server is not None
    if server["number"] < OLDEST_SERVER * 10_000:
        raise UnfitServer(f"This is Postgres {server['version']}: Agent OS needs {OLDEST_SERVER} or newer.")
    if server["encoding"] != "UTF8":
        raise UnfitServer(
            f"The database keeps its text as {server['encoding']}: make one with `create database ... encoding 'UTF8' "
            "template template0`."
        )
    if not server["trigrams"]:
        raise UnfitServer(
            "Postgres lacks the extension pg_trgm, which finds words in messages: install its contrib package "
            "(postgresql-contrib)."
        )


async def check_durability(connection: Connection) -> None:
    """Refuses settings under which an acknowledged write can be lost, as this connection's role sees them.

    Raises:
        UnsafeSettings: names every such setting, its value, and the next step.
    """
    unsafe = await connection.fetch(SQL["unsafe_settings"])
    if unsafe:
        named = ", ".join(f"{row['name']} = {row['setting']}" for row in unsafe)
        raise UnsafeSettings(
            f"Postgres would lose acknowledged writes: {named}. Set each to on (also for this role and database: "
            "see pg_db_role_setting) and restart Postgres."
        )


async def let_in(connection: Connection, role: str, password: str) -> None:
    """Lets a role log in with this password. The server gets a verifier, so that no log can hold the password.

    Args:
        connection: of the owner.
        role: made by a migration.
    """
    await connection.execute(f"alter role {role} with login password '{scram_verifier(password)}'")


def scram_verifier(password: str, salt: bytes | None = None, iterations: int = 4096) -> str:
    """What Postgres keeps of a password for scram-sha-256 (RFC 5803). ASCII passwords only: no SASLprep here."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, client, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
