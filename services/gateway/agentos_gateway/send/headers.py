"""Header fields: what may stand in one, what ends at each hop, and what says how long a body is."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Literal

Header = tuple[str, str]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

HOP_BY_HOP: Final = frozenset(
    (
        "connection", "expect", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authentication-info",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
"""Fields between two neighbours, never passed on."""


class BadFraming(ValueError):
    """It is not certain where a message ends, so two readers could see two different messages (request smuggling)."""


@lru_cache(maxsize=2048)
def lowered(name: str) -> str | None:
    """The name in lower case; None if it is not a field name."""
    return name.lower() if _NAME.fullmatch(name) else None


def is_value(value: str) -> bool:
    """Whether it can be sent as it is: no control characters (CR, LF and NUL among them), no space at its ends."""
    return _VALUE.fullmatch(value) is not None


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Without what belongs to one hop, also the fields that ``Connection`` names."""
    listed = list(headers)
    named = {
        option.strip().lower() for name, value in listed if name.lower() == "connection" for option in value.split(",")
    }
    return [(n, v) for n, v in listed if (low := n.lower()) not in HOP_BY_HOP and low not in named]


def values(headers: Iterable[Header], name: str) -> list[str]:
    """All values of a field; ``name`` in lower case."""
    return [value for found, value in headers if found.lower() == name]


def body_framing(headers: Sequence[Header], *, http_1_0: bool = False) -> int | Literal["chunked"] | None:
    """Where the body of a message ends: after so many bytes, by chunks, or not said.

    Stricter than RFC 9112 allows: a length that is repeated, even equally, and every transfer coding but ``chunked``
    alone are refused.

    Raises:
        BadFraming: two answers, or none that is certain.
    """
    lengths: list[str] = []
    codings: list[str] = []
    for name, value in headers:
        match lowered(name):
            case None:
                raise BadFraming("a field name is not one")
            case "content-length":
                lengths.append(value)
            case "transfer-encoding":
                codings.append(value)
    if codings:
        if lengths:
            raise BadFraming("Content-Length and Transfer-Encoding contradict each other")
        if len(codings) > 1 or codings[0].lower() != "chunked":
            raise BadFraming("the only transfer coding taken is chunked, once")
        if http_1_0:
            raise BadFraming("HTTP/1.0 has no transfer codings")
        return "chunked"
    if not lengths:
        return None
    if len(lengths) > 1:
        raise BadFraming("Content-Length stands there twice")
    if not _LENGTH.fullmatch(lengths[0]):
        raise BadFraming("Content-Length is not a number")
    return int(lengths[0])
