"""Bringing a database to where the services can use it: made, migrated, safe, roles able to log in."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

from agentos_runtime.datadir import DataDir, write_private
from agentos_runtime.errors import RuntimeFailure, Unreachable
from agentos_runtime.settings import ROLES

if TYPE_CHECKING:
    import asyncpg

Hook: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Roles:
    """How each role logs in.

    Attributes:
        owner_url: who migrates.
        passwords: role -> password that we set.
        given: role -> URL, for roles that somebody else has made; their passwords are theirs.
    """

    owner_url: str
    passwords: Mapping[str, str]
    given: Mapping[str, str]

    def url(self, role: str) -> str:
        """The role's URL: the owner's with another user, unless it was given."""
        if role in self.given:
            return self.given[role]
        parts = urlsplit(self.owner_url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:{quote(self.passwords[role], safe='')}@{place}"))


def is_current(data: DataDir) -> bool:
    """Whether the last start left the schema as this version wants it."""
    from agentos_shared.store import migrate

    try:
        return (data.root / "schema").read_text(encoding="ascii") == migrate.fingerprint()
    except OSError:
        return False


async def schema(data: DataDir, roles: Roles) -> None:
    """Prepares the database and remembers that it was done. Raises as ``database`` does."""
    from agentos_shared.store import migrate

    await database(roles)
    write_private(data.root / "schema", migrate.fingerprint())


async def database(roles: Roles) -> list[str]:
    """Makes the database if need be, migrates it, checks its durability, and lets the roles in.

    Returns:
        names of the migrations that were applied now.

    Raises:
        Unreachable: it did not work out this time.
        RuntimeFailure: the database is not one to serve from.
    """
    from agentos_shared.store import migrate  # here: importing asyncpg overlaps with the start of Postgres

    try:
        connection = await connect(roles.owner_url)
        try:
            await migrate.check_durability(connection)
            applied = await migrate.migrate(connection)
            for role in ROLES:
                if role not in roles.given:
                    await migrate.let_in(connection, role, roles.passwords[role])
        finally:
            await connection.close(timeout=5)
    except migrate.StoreRefused as error:
        raise RuntimeFailure(str(error)) from error
    except (
        Exception
    ) as error:  # a connection that is lost at a bad moment raises all kinds, also asyncpg's internal ones
        raise Unreachable(f"The schema could not be prepared: {type(error).__name__}: {error}") from error
    return applied


async def connect(owner_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection of the owner; makes the database when the server has none of that name."""
    import asyncpg

    try:
        return await asyncpg.connect(owner_url, timeout=10, command_timeout=60)
    except asyncpg.InvalidCatalogNameError:
        parts = urlsplit(owner_url)
        name = parts.path.lstrip("/")
        connection = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")), timeout=10)
        try:
            await connection.execute(f'create database "{name.replace(chr(34), chr(34) * 2)}"')
        finally:
            await connection.close()
        return await asyncpg.connect(owner_url, timeout=10, command_timeout=60)
