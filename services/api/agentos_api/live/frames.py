"""Server-sent events as bytes. Every ``data`` is one line of JSON, in which a line break cannot occur unescaped."""

from typing import Final

import orjson

RETRY: Final = b"retry: 2000\n\n"
KEEP_ALIVE: Final = b":\n\n"


def event(stream_seq: int, envelope_json: bytes) -> bytes:
    """An event of the stream. It has no name, so that ``EventSource.onmessage`` gets it."""
    return b"id: %d\ndata: %b\n\n" % (stream_seq, envelope_json)


def caught_up(head_seq: int) -> bytes:
    """History is done. The id lets a client that tails (``from_seq=latest``) resume without having seen any event."""
    return b'event: caught_up\nid: %d\ndata: {"head_seq":%d}\n\n' % (head_seq, head_seq)


def reset(head_seq: int) -> bytes:
    """The client's cursor lay beyond the head; the id moves it back."""
    return b'event: reset\nid: %d\ndata: {"head_seq":%d}\n\n' % (head_seq, head_seq)


def gone(reason: str) -> bytes:
    """The server closes; the client is to reconnect with its last id."""
    return b"event: gone\ndata: %b\n\n" % orjson.dumps({"reason": reason})
