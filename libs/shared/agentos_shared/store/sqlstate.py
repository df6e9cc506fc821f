"""Which database errors are an event's own fault, and which pass. The only place that classifies SQLSTATEs.

Poison is what will fail again however often it is tried, because of the values at hand. Everything else (a lost
connection, a deadlock, a lock or statement timeout, a full disk, a server that is shutting down or only reads, but also
a table or a right that is missing) concerns every event alike, so it is retried with back-off and said aloud.
"""

import asyncio
from typing import Final

import asyncpg

#: Cardinality, data exception, integrity constraint, check option, program limit, raised by plpgsql.
_POISON_CLASSES: Final = frozenset({"21", "22", "23", "44", "54", "P0"})

#: Failures of the way to the server, before any SQLSTATE exists. InterfaceError: asyncpg's "connection is closed".
_CONNECTION_LOST: Final = (
    OSError,
    EOFError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def sqlstate(error: BaseException) -> str | None:
    """The five characters, or None for an error that did not come from the server."""
    return error.sqlstate if isinstance(error, asyncpg.PostgresError) else None


def is_poison(error: BaseException) -> bool:
    """True when trying again with the same values cannot succeed."""
    code = sqlstate(error)
    if code is not None:
        return code[:2] in _POISON_CLASSES
    if isinstance(error, asyncpg.DataError):  # the client refused a value; it also counts as an InterfaceError
        return True
    return isinstance(error, Exception) and not isinstance(error, _CONNECTION_LOST)
