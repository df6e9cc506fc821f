"""Read-only before the disk is full: Postgres stops for good on a full disk, and reads would stop with it."""

import shutil
from pathlib import Path
from typing import Final

import structlog

from agentos_shared.domain.errors import InsufficientStorage
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, Clock

log = structlog.get_logger()

LOOK_S: Final = 2.0
#: Writing goes on once this much more than the mark is free, so that the answer does not flicker around it.
HEADROOM: Final = 1.1
FREE: Final = metrics.gauge("disk_free_bytes", "Free space where the stores live.")


class DiskWatch:
    """Watches the free space below a directory.

    Args:
        path: where the stores live; None: they are somewhere else, and nobody watches.
        low_bytes: free space below which writes are refused.
    """

    def __init__(self, path: Path | None, low_bytes: int, *, clock: Clock = CLOCK) -> None:
        self._path = path
        self._low = low_bytes
        self._clock = clock
        self._full = False

    def require_space(self) -> None:
        """Raise InsufficientStorage (507, ``disk_nearly_full``) while there is too little."""
        if self._full:
            raise InsufficientStorage(
                "disk_nearly_full",
                "The disk is nearly full, so only reads are served. Free some space; writing then goes on by itself.",
            )

    async def run(self) -> None:
        """Look every two seconds, for ever."""
        while self._path is not None:
            self.look(self._path)
            await self._clock.sleep(LOOK_S)

    def look(self, path: Path) -> None:
        """Look once."""
        free = shutil.disk_usage(path).free
        FREE.set(free)
        full = free < self._low * (HEADROOM if self._full else 1)
        if full != self._full:
            log.warning("disk_nearly_full" if full else "disk_has_space_again", free_bytes=free, low_bytes=self._low)
        self._full = full
