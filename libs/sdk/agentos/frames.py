"""Server-sent events out of bytes, as they come in."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event. ``name`` is ``message`` where the server gave none."""

    name: str
    id: str | None
    data: bytes


class Parser:
    """Frames of one connection. A frame that the connection's end cut short is dropped: it will be sent again."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._name = "message"
        self._id: str | None = None
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Frames that ``chunk`` completes."""
        # Only \n, which is what our server sends: texts in JSON may hold every other line end that Unicode knows.
        self._rest += chunk
        start = 0
        while (end := self._rest.find(b"\n", start)) >= 0:
            line = bytes(self._rest[start:end]).removesuffix(b"\r")
            start = end + 1
            if line:
                self._take(line)
                continue
            if self._data:
                yield Frame(self._name, self._id, b"\n".join(self._data))
            self._clear()
        del self._rest[:start]

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode()
        elif field == b"id":
            self._id = value.decode()

    def _clear(self) -> None:
        self._name, self._id, self._data = "message", None, []
