"""Log files that rotate by size."""

import os
from collections import deque
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 10 * 1024 * 1024
KEPT: Final = 3


class RotatingLog:
    """``name.log``, ``name.log.1`` ... ``name.log.3``; a line is never cut in two by a rotation.

    Losing a log never stops a component: a full disk makes ``write`` drop what it cannot store.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._partial = b""
        self._descriptor, self._size = self._open()
        self.last_lines: deque[str] = deque(maxlen=8)

    def write(self, data: bytes) -> None:
        """Appends what is complete, keeping an unfinished line for the next call (bounded)."""
        complete, newline, rest = (self._partial + data).rpartition(b"\n")
        if len(rest) > 65536:
            complete, newline, rest = complete + newline + rest, b"\n", b""
        self._partial = rest
        if complete or newline:
            self._append(complete + newline)

    def close(self) -> None:
        """Writes the unfinished line, if any. Closing again is fine."""
        if self._descriptor < 0:
            return
        if self._partial:
            self._append(self._partial + b"\n")
            self._partial = b""
        os.close(self._descriptor)
        self._descriptor = -1

    def _append(self, lines: bytes) -> None:
        self.last_lines.extend(lines[-8192:].decode(errors="replace").splitlines()[-8:])
        if self._size and self._size + len(lines) > self._max_bytes:
            self._rotate()
        try:
            self._size += os.write(self._descriptor, lines)
        except OSError:
            return

    def _open(self) -> tuple[int, int]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # it may be left from a version that was less careful
        return descriptor, os.fstat(descriptor).st_size

    def _rotate(self) -> None:
        try:
            for number in range(self._kept - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            fresh, size = self._open()
        except OSError:
            return
        os.close(self._descriptor)
        self._descriptor, self._size = fresh, size
