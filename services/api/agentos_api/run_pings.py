"""Tells the engine service in which streams something has just happened to runs: one small message a commit."""

import asyncio
import contextlib
from collections.abc import Sequence

from nats.aio.client import Client

from agentos_api.append.appender import Committed
from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import Range, StreamKey, encode_ping


class RunPings:
    """Listens to the commits of this process. A ping that is lost costs a moment: the service also compares heads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._moved: dict[StreamKey, int] = {}
        self._wake = asyncio.Event()

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note where runs have moved, or what they wait for has."""
        for event in (committed.event for committed in batch):
            if event.entity_type == "run" or (event.entity_type == "approval" and event.run_id is not None):
                self._moved[StreamKey(event.stream_type, event.stream_id)] = event.stream_seq
                self._wake.set()

    async def run(self) -> None:
        """Tell what was noted; what comes while a message is under way is told with the next."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            moved, self._moved = self._moved, {}
            if self._client.is_connected:
                with contextlib.suppress(Exception):
                    ranges = [Range(key, 0, seq) for key, seq in moved.items()]
                    await self._client.publish(subjects.PING_RUNS, encode_ping(ranges))
