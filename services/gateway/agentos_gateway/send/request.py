"""A request as the sender takes it, and its head as bytes."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from agentos_gateway.address import Target
from agentos_gateway.send.failures import RequestRefused
from agentos_gateway.send.headers import HOP_BY_HOP, Header, is_value, lowered

DECODABLE: Final = "gzip, deflate, br"
"""The value of Accept-Encoding where the answer is decoded; a proxy that scans bodies clamps the client's to it."""

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}", re.ASCII)
_UPGRADE = re.compile(r"[A-Za-z0-9./_-]{1,64}", re.ASCII)
# TRACE echoes credentials back; CONNECT is the tunnel's.
_REFUSED_METHODS: Final = frozenset(["CONNECT", "TRACE", "TRACK"])
_BODILESS_METHODS: Final = frozenset(["GET", "HEAD", "OPTIONS", "DELETE"])
MAX_HEADERS: Final = 256
MAX_HEAD_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase; ``whole_s`` None lets a stream live as long as it speaks."""

    connect_s: float = 10.0
    tls_s: float = 10.0
    write_s: float = 30.0
    first_byte_s: float = 60.0
    between_bytes_s: float = 30.0
    whole_s: float | None = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what comes back.

    Attributes:
        body_bytes: of the body as it is sent; None is no bound.
        decoded_bytes: of the body after decoding, where it is decoded.
        decoded_ratio: how often a decoded body may hold what was sent, once it is over a mebibyte.
    """

    headers: int = MAX_HEADERS
    head_bytes: int = MAX_HEAD_BYTES
    interim: int = 8
    body_bytes: int | None = 100 * 1024 * 1024
    decoded_bytes: int = 100 * 1024 * 1024
    decoded_ratio: int = 100


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """What is sent to a target.

    Attributes:
        headers: in order, as text of ASCII and Latin-1; without fields of one hop, ``Host`` and lengths are made here.
        body: bytes, or an iterator that is read no faster than the other side takes it.
        content_length: of an iterator's body; None sends it in chunks.
        decode: the answer's body is decoded (gzip, deflate, br).
        upgrade: the protocol to switch to, such as ``websocket``; the answer may then be 101 and be detached.
    """

    method: str
    headers: Sequence[Header] = ()
    body: bytes | AsyncIterator[bytes] = b""
    content_length: int | None = None
    decode: bool = False
    upgrade: str | None = None
    limits: Limits = field(default=Limits())
    timeouts: Timeouts = field(default=Timeouts())

    @property
    def repeatable(self) -> bool:
        """Safe by its method and without a body: sending it twice is sending it once (RFC 9110, 9.2.1)."""
        return self.method in ("GET", "HEAD", "OPTIONS") and self.body == b"" and self.upgrade is None

    @property
    def chunked(self) -> bool:
        """Whether the body goes in chunks."""
        return not isinstance(self.body, bytes) and self.content_length is None


def head(target: Target, request: OutboundRequest) -> bytes:
    """The request line and all fields, up to and with the empty line.

    Raises:
        RequestRefused: something in it could be read as more than it says.
    """
    if not _METHOD.fullmatch(request.method) or request.method in _REFUSED_METHODS:
        raise RequestRefused("bad_method", "a method is a word of capital letters, and not CONNECT or TRACE")
    if len(request.headers) > MAX_HEADERS:
        raise RequestRefused("too_many_headers", f"a request has at most {MAX_HEADERS} header fields")
    lines = [f"{request.method} {target.request_target} HTTP/1.1", f"Host: {target.authority}"]
    lines += _fields(target, request)
    lines += _framing(request)
    if request.decode:
        lines.append(f"Accept-Encoding: {DECODABLE}")
    if request.upgrade is not None:
        if not _UPGRADE.fullmatch(request.upgrade):
            raise RequestRefused("bad_upgrade", "the protocol to switch to is one name")
        lines.append(f"Connection: Upgrade\r\nUpgrade: {request.upgrade}")
    data = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if len(data) > MAX_HEAD_BYTES:
        raise RequestRefused("headers_too_large", f"line and fields together have at most {MAX_HEAD_BYTES} bytes")
    return data


def _fields(target: Target, request: OutboundRequest) -> list[str]:
    lines: list[str] = []
    lengths = 0
    for name, value in request.headers:
        low = lowered(name)
        if low is None:
            raise RequestRefused("bad_header", "a field name is letters, digits and hyphens")
        if not is_value(value):
            raise RequestRefused("bad_header", f"the value of {low} has control characters, or spaces at its ends")
        if low in HOP_BY_HOP:
            raise RequestRefused("hop_by_hop_header", f"{low} is between two neighbours; the gateway sends its own")
        if low == "host":
            if value.lower() != target.authority:
                raise RequestRefused("host_mismatch", "Host is the host of the URL, which is what was decided on")
        elif low == "content-length":
            lengths += 1
            if lengths > 1 or value != str(_length(request)):
                raise RequestRefused("length_mismatch", "Content-Length is not the length of the body")
        elif low != "accept-encoding" or not request.decode:
            lines.append(f"{name}: {value}")
    return lines


def _length(request: OutboundRequest) -> int | None:
    return len(request.body) if isinstance(request.body, bytes) else request.content_length


def _framing(request: OutboundRequest) -> list[str]:
    length = _length(request)
    if length is None:
        return ["Transfer-Encoding: chunked"]
    if length < 0:
        raise RequestRefused("length_mismatch", "a length is not negative")
    return [f"Content-Length: {length}"] if length or request.method not in _BODILESS_METHODS else []
