"""Places in streams, as services tell each other: hints on the bus, ranges to read, and the projector's ping."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import orjson

#: A ping stays small: readers that find it incomplete look for themselves.
MAX_PING_POSITIONS: Final = 500


class StreamKey(NamedTuple):
    """Which stream. Sorts the way Postgres locks (both parts compare as ASCII)."""

    stream_type: str
    stream_id: str


class Hint(NamedTuple):
    """Something that says "this stream reaches at least ``seq``"; the store knows whether that is true."""

    key: StreamKey
    seq: int
    traceparent: str | None = None


class Range(NamedTuple):
    """The events of one stream with ``after < stream_seq <= upto``."""

    key: StreamKey
    after: int
    upto: int

    @property
    def events(self) -> int:
        """How many, since sequences have no gaps."""
        return self.upto - self.after


def encode_ping(moved: Iterable[Range]) -> bytes:
    """``PING_PROJECTED``: ``{"positions": {"room/<id>": seq, ...}, "complete": bool}``, at most 500 positions."""
    positions: dict[str, int] = {}
    complete = True
    for key, _, upto in moved:
        if len(positions) == MAX_PING_POSITIONS:
            complete = False
            break
        positions[f"{key.stream_type}/{key.stream_id}"] = upto
    return orjson.dumps({"positions": positions, "complete": complete})


def decode_ping(body: bytes) -> tuple[Mapping[str, int], bool]:
    """Positions by ``<stream_type>/<stream_id>``, whether they are all; a malformed ping is empty and incomplete."""
    try:
        said = orjson.loads(body)
        return {str(stream): int(seq) for stream, seq in said["positions"].items()}, bool(said["complete"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return {}, False
