"""How a read endpoint asks Postgres and answers: one round trip, bounded in time, waiting only for what is missing.

Statements for a list select from a gate (is the position reached, is the parent known and projected) left join the
page, so that one round trip tells a list that is empty from one that is not there yet.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy
from fastapi import Query, Request, Response
from pydantic import WithJsonSchema

from agentos_api.http.problem import CONTENT_TYPE
from agentos_api.reads.paging import seq_of
from agentos_api.reads.waiting import Projected
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.errors import Invalid, NotFound, TryLater

Row: TypeAlias = asyncpg.Record

#: Seconds that one statement may take, waiting for a connection included.
TIMEOUT_S: Final = 5.0

#: OpenAPI's name of :class:`agentos_api.http.problem.Problem`, which agentos_api.http.openapi puts there.
PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}

_POSITION: Final = re.compile(r"(room|workspace)/([A-Za-z0-9_-]{1,64})@([0-9]{1,19})")
_UNREACHABLE: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a stream that a list must cover. The default one is covered by everything."""

    stream_type: str = ""
    stream_id: str = ""
    seq: int = 0


def position_of(text: str | None) -> Position:
    """``min_position``: ``room/<id>@<seq>``.

    Raises:
        Invalid: ``invalid_min_position``.
    """
    if text is None:
        return Position()
    match = _POSITION.fullmatch(text)
    if match is None:
        raise Invalid("invalid_min_position", "min_position is written like room/<id>@17.")
    return Position(match[1], match[2], seq_of(match[3], "invalid_min_position"))


def storable(text: str) -> bool:
    """Whether Postgres can hold this text. What it cannot hold is the id of nothing."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(frozen=True, slots=True)
class Reader:
    """The read side of one request."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    projected: Projected
    workspace_id: str

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[Row]:
        """Rows of one statement.

        Raises:
            TryLater: ``store_unavailable``, ``query_timeout`` or ``projection_behind``.
        """
        async with self.connection() as connection:
            return await connection.fetch(sql, *arguments, timeout=TIMEOUT_S)

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[PoolConnectionProxy[asyncpg.Record]]":
        """A connection for as long as the block lasts, for what needs several statements in one snapshot.

        Raises:
            TryLater: ``store_unavailable`` when Postgres cannot be reached, ``query_timeout`` when it does not answer
                in time, ``projection_behind`` when the projector has not made its tables yet.
        """
        try:
            async with self.pool.acquire(timeout=TIMEOUT_S) as connection:
                yield connection
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            raise TryLater("query_timeout", f"This took over {TIMEOUT_S:.0f} s: ask for less, or try again.") from error
        except asyncpg.UndefinedTableError as error:
            raise TryLater("projection_behind", "The read models are not there yet; try again.") from error
        except _UNREACHABLE as error:
            raise TryLater("store_unavailable", "The store cannot be reached just now; try again.") from error

    async def entity(self, sql: str, entity_id: str, missing: NotFound) -> Row:
        """One entity's row, as new as the store is; ``sql`` takes the workspace and the id.

        Raises:
            NotFound: ``missing``.
            TryLater: ``projection_behind``, ``query_timeout`` or ``store_unavailable``.
        """
        if not storable(entity_id):
            raise missing

        async def look() -> Row | None:
            rows = await self.fetch(sql, self.workspace_id, entity_id)
            if not rows:
                raise missing
            row = rows[0]
            return row if (row["entity_version"] or 0) >= row["store_version"] else None

        return await self.projected.until(look)

    async def page(self, sql: str, key: str, *arguments: Any, missing: NotFound | None = None) -> Sequence[Row]:
        """Rows of a page.

        Args:
            key: a column that no row of the page leaves null.
            missing: the error for an unknown parent.

        Raises:
            NotFound: ``missing``.
            TryLater: ``projection_behind``, ``query_timeout`` or ``store_unavailable``.
        """

        async def look() -> Sequence[Row] | None:
            rows = await self.fetch(sql, self.workspace_id, *arguments)
            gate = rows[0]
            if missing is not None and not gate["known"]:
                raise missing
            if not gate["reached"] or (missing is not None and not gate["projected"]):
                return None
            return rows if gate[key] is not None else []

        return await self.projected.until(look)


def reader_of(request: Request) -> Reader:
    """The read side for this request's workspace."""
    services = request.app.state.services
    return Reader(services.pool, services.projected, request.state.workspace_id)


def members(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """These columns of a row, as a JSON object."""
    return {column: row[column] for column in columns}


def answer(body: Mapping[str, Any]) -> Response:
    """200 with this body."""
    encoded = orjson.dumps(body, default=_json_of, option=orjson.OPT_PASSTHROUGH_DATETIME)
    return Response(encoded, media_type="application/json")


def _json_of(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, UUID):  # asyncpg's own kind, which orjson does not know
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def problems(
    not_found: str | None = None,
    malformed: str | None = "invalid_limit, invalid_cursor, invalid_min_position",
) -> dict[int | str, Any]:
    """OpenAPI responses for what a read route may refuse with; the arguments are the codes of 404 and 400."""
    told = {
        400: "Malformed: " + ", ".join(filter(None, (malformed, "invalid_workspace_id"))) + ".",
        404: not_found,
        503: "projection_behind, query_timeout, store_unavailable; see retry-after.",
    }
    return {
        status: {
            "description": text,
            "content": {CONTENT_TYPE: {"schema": PROBLEM}},
        }
        for status, text in told.items()
        if text is not None
    }


def _number(maximum: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": 1, "maximum": maximum})


# Query parameters are texts to FastAPI: what they mean is checked by the route, so that a wrong one gets its own code.
Limit = Annotated[str | None, Query(description="Rows of a page."), _number(200)]
Limit100 = Annotated[str | None, Query(description="Rows of a page."), _number(100)]
Cursor = Annotated[
    str | None,
    Query(description="next_cursor of the page before."),
    WithJsonSchema({"type": "string"}),
]
MinPosition = Annotated[
    str | None,
    Query(
        description="Wait until the read model covers this place, at most 2 s (then 503): room/<id>@<stream_seq>.",
    ),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(room|workspace)/[A-Za-z0-9_-]{1,64}@[0-9]{1,18}$",
        }
    ),
]
