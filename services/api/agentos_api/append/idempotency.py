"""Idempotency keys within one process: one request runs, the others wait for its answer.

Across processes and time the table ``evt_keys`` decides, in the append's own transaction.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from agentos_api.append.appender import key_reused
from agentos_api.append.draft import NOT_KEPT
from agentos_api.append.submission import Answer, RequestKey
from agentos_shared.domain.errors import Conflict, Invalid

MAX_KEY_LENGTH: Final = 255
WAIT_S: Final = 10.0
MAX_REMEMBERED: Final = 10_000
#: Well below the day that the table keeps an answer.
REMEMBERED_S: Final = 3600.0


def checked(key: str) -> str:
    """The header's value. Raises Invalid: ``invalid_idempotency_key``."""
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise Invalid(
            "invalid_idempotency_key", f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        )
    return key


class _GivenUp(Exception):
    """The request that ran was cancelled: the next one runs in its place."""


class KeyGate:
    """Lets one request of each key through at a time, and replays what it answered.

    Args:
        keeps: whether an answer is one to be replayed.
    """

    def __init__(self, keeps: Callable[[Answer], bool] = lambda _: True) -> None:
        self._keeps = keeps
        self._running: dict[tuple[str, str, str], tuple[bytes, asyncio.Future[Answer]]] = {}
        self._answered: OrderedDict[tuple[str, str, str], tuple[bytes, Answer, float]] = OrderedDict()

    async def run(self, key: RequestKey, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run ``request``, or replay the answer that another one with the same key and body got.

        Raises:
            Contradiction: the key came with another body.
            Conflict: ``idempotency_key_in_flight``: the first request is still running after 10 s.
        """
        identity = key.identity
        answered = self._answered.get(identity)
        if answered is not None:
            if time.monotonic() - answered[2] < REMEMBERED_S:
                return _replay(key, answered[0], answered[1])
            del self._answered[identity]
        while (running := self._running.get(identity)) is not None:
            try:
                answer = await asyncio.wait_for(asyncio.shield(running[1]), WAIT_S)
            except _GivenUp:
                continue
            except TimeoutError:
                raise Conflict(
                    "idempotency_key_in_flight", "The first request with this Idempotency-Key is still running."
                ) from None
            return _replay(key, running[0], answer)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._running[identity] = (key.fingerprint, future)
        try:
            answer = await request()
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else _GivenUp())
            future.exception()  # nobody may be waiting
            raise
        finally:
            del self._running[identity]
        future.set_result(answer.to_keep())
        if answer.status < 500 and answer.status not in NOT_KEPT and not answer.passing and self._keeps(answer):
            self._answered[identity] = (key.fingerprint, answer.to_keep(), time.monotonic())
            if len(self._answered) > MAX_REMEMBERED:
                self._answered.popitem(last=False)
        return answer


def _replay(key: RequestKey, fingerprint: bytes, answer: Answer) -> Answer:
    if fingerprint != key.fingerprint:
        raise key_reused()
    return Answer(answer.status, answer.body, replayed=True)
