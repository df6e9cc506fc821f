"""Lists, page by page or as a whole."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from agentos.aio.connection import Connection
from agentos.answers import Page
from agentos.models import Written

T = TypeVar("T")


class AsyncListing(Generic[T]):
    """A list that was asked for: iterate over all of it, or take single pages."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        member: str,
        kind: type[T],
        query: Mapping[str, Any],
        min_position: str | Written | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._member = member
        self._rows = TypeAdapter(list[kind])  # type: ignore[valid-type]
        position = min_position.position if isinstance(min_position, Written) else min_position
        self._query = {**query, "min_position": position}

    async def page(self, cursor: str | None = None) -> Page[T]:
        """The page at ``cursor``, the first one by default."""
        answer = await self._connection.get(self._path, {**self._query, "cursor": cursor})
        members = answer.members()
        return Page(self._rows.validate_python(members.get(self._member, [])), members.get("next_cursor"))

    async def all(self) -> list[T]:
        """Everything, in memory."""
        return [item async for item in self]

    async def __aiter__(self) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self.page(cursor)
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return
