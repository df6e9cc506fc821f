"""One statement for many who ask at once, each for one thing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key")
Found = TypeVar("Found")


class Together(Generic[Key, Found]):
    """Gathers what is asked for while the statement before is under way.

    Args:
        read: everything that is known of some keys.
        most: keys of one statement.
    """

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Found]]], most: int = 100) -> None:
        self._read = read
        self._most = most
        self._wanted: dict[Key, asyncio.Future[Found | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Found | None:
        """What is known of one key, read after this call; None when nothing is.

        Raises:
            Exception: whatever the statement raised.
        """
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_wanted())
        return await asyncio.shield(future)

    async def _read_wanted(self) -> None:
        await asyncio.sleep(0)  # noqa: TID251 - no time passes: whoever asks in this same turn of the loop comes along
        try:
            while self._wanted:
                taken = dict(list(self._wanted.items())[: self._most])
                for key in taken:
                    del self._wanted[key]
                try:
                    found = await self._read(list(taken))
                except Exception as error:
                    for future in taken.values():
                        future.set_exception(error)
                        future.exception()  # nobody may be waiting any more
                else:
                    for key, future in taken.items():
                        future.set_result(found.get(key))
        finally:
            self._reading = None
