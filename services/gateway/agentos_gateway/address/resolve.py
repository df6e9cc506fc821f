"""From a name to its addresses. What comes back is only an answer; :mod:`agentos_gateway.address.guard` judges it."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from agentos_shared.host.lifecycle import Clock

MAX_ADDRESSES: Final = 64
_THREADS: Final = 8
_CACHED_NAMES: Final = 1024


class ResolveFailed(Exception):
    """No addresses. Codes: ``dns_timeout``, ``dns_not_found``, ``dns_failed``, ``dns_too_many``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Resolver(Protocol):
    """Where addresses come from. Tests give their own."""

    async def addresses(self, host: str) -> Sequence[str]:
        """All addresses of an ASCII host name, in the order to try them.

        Raises:
            ResolveFailed: there are none, or they are not known.
        """
        ...


class SystemResolver:
    """The resolver of the operating system, in a few threads of its own: a hung lookup cannot stop other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dns")

    async def addresses(self, host: str) -> Sequence[str]:
        # RFC 6761: these never leave the machine, whatever the configured server says.
        if host == "localhost" or host.endswith(".localhost"):
            return ["127.0.0.1", "::1"]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _lookup, host)
        except socket.gaierror as error:
            missing = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            raise ResolveFailed("dns_not_found" if missing else "dns_failed", "the host name has no address") from error
        except (OSError, UnicodeError) as error:
            raise ResolveFailed("dns_failed", "the host name could not be looked up") from error
        return found

    def close(self) -> None:
        """Ends the threads once their lookups end; waits for none."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class RememberingResolver:
    """Answers again for a few seconds, and asks once where many wait for the same name.

    Only answers are kept, never verdicts: each request judges the addresses anew, by the rules as they are then.
    """

    def __init__(self, inner: Resolver, clock: Clock, keep_s: float = 5.0) -> None:
        self._inner = inner
        self._clock = clock
        self._keep_s = keep_s
        self._kept: dict[str, tuple[float, Sequence[str]]] = {}
        self._asking: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        kept = self._kept.get(host)
        if kept is not None and self._clock.monotonic() < kept[0]:
            return kept[1]
        asking = self._asking.get(host)
        if asking is None:
            asking = asyncio.get_running_loop().create_task(self._ask(host))
            self._asking[host] = asking
            asking.add_done_callback(lambda task: self._asked(host, task))
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(asking)

    async def _ask(self, host: str) -> Sequence[str]:
        found = tuple(await self._inner.addresses(host))
        if len(self._kept) >= _CACHED_NAMES:
            self._kept.pop(next(iter(self._kept)))
        self._kept.pop(host, None)
        self._kept[host] = (self._clock.monotonic() + self._keep_s, found)
        return found

    def _asked(self, host: str, task: asyncio.Task[Sequence[str]]) -> None:
        self._asking.pop(host, None)
        if not task.cancelled():
            task.exception()  # whoever still waits raises it; nobody may be left
