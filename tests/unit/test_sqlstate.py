"""Which errors are an event's own fault."""

import asyncio
import json

import asyncpg
import pytest
from asyncpg import exceptions

from agentos_shared.store.sqlstate import is_poison, sqlstate


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NotNullViolationError("x"),
        exceptions.UniqueViolationError("x"),
        exceptions.InvalidTextRepresentationError("x"),
        exceptions.NumericValueOutOfRangeError("x"),
        exceptions.CardinalityViolationError("x"),
        exceptions.RaiseError("x"),
        exceptions.ProgramLimitExceededError("x"),
        asyncpg.DataError("invalid input for query argument"),
        KeyError("missing"),
        json.JSONDecodeError("x", "y", 0),
    ],
)
def test_poison(error: BaseException) -> None:
    assert is_poison(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.DeadlockDetectedError("x"),
        exceptions.SerializationError("x"),
        exceptions.LockNotAvailableError("x"),
        exceptions.QueryCanceledError("x"),
        exceptions.AdminShutdownError("x"),
        exceptions.CannotConnectNowError("x"),
        exceptions.TooManyConnectionsError("x"),
        exceptions.DiskFullError("x"),
        exceptions.ReadOnlySQLTransactionError("x"),
        exceptions.UndefinedTableError("x"),
        exceptions.InsufficientPrivilegeError("x"),
        exceptions.ConnectionDoesNotExistError("x"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        TimeoutError(),
        asyncio.CancelledError(),
    ],
)
def test_not_poison(error: BaseException) -> None:
    assert not is_poison(error)


def test_the_code_of_a_server_error_only() -> None:
    assert sqlstate(exceptions.NotNullViolationError("x")) == "23502"
    assert sqlstate(ValueError("x")) is None
