"""Contents too large for an event: files named by their SHA-256, beside the event store and backed up with it.

A blob is written before the event that names it, so an event never names what is not there. A blob that no event came
to name stays: the same content may be on its way into another event.
"""

import asyncio
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

import structlog

from agentos_shared.domain.errors import TooLarge, TryLater

log = structlog.get_logger("agentos.blobs")

_NAME: Final = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The blobs of one data directory.

    Args:
        directory: made when the first one is written; None: none can be kept.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    async def put(self, content: bytes) -> str:
        """Keep a content, durably; its SHA-256 in hexadecimal.

        Raises:
            TooLarge: ``content_too_large``: there is no directory.
            TryLater: ``store_unavailable``: it cannot be written just now.
        """
        if self._directory is None:
            raise TooLarge(
                "content_too_large",
                "No place for large content is configured (AGENTOS_BLOB_DIR); give it by uri instead.",
            )
        try:
            return await asyncio.to_thread(_write, self._directory, content)
        except OSError as error:
            log.error("blob_not_written", directory=str(self._directory), error=str(error))
            raise TryLater("store_unavailable", "The content cannot be kept just now; try again.") from error

    async def get(self, sha256: str) -> bytes | None:
        """A content, or None when it is not here."""
        if self._directory is None or _NAME.fullmatch(sha256) is None:
            return None
        return await asyncio.to_thread(_read, self._directory / sha256)


def _write(directory: Path, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    target = directory / name
    if target.exists():
        _sync(directory)  # whoever wrote it may not have come to that
        return name
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(directory.parent)
    handle, temporary = tempfile.mkstemp(prefix=".", dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(directory)
    return name


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
