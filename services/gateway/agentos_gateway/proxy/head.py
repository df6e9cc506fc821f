"""The head of a request to the proxy: read strictly, within bounds. What can be read in two ways is refused."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from agentos_gateway.send.headers import BadFraming, Header, body_framing, is_value, lowered, values

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]{0,31}", re.ASCII)
_VERSION: Final = re.compile(r"HTTP/[0-9]\.[0-9]", re.ASCII)


class BadHead(Exception):
    """A request that is not taken: the connection ends with this answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.status, self.code, self.detail = status, code, detail


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and its fields.

    Attributes:
        target: as it stands there.
        framing: where the body ends: bytes, ``chunked``, or None without one.
        old: HTTP/1.0.
    """

    method: str
    target: str
    headers: tuple[Header, ...]
    framing: int | Literal["chunked"] | None
    old: bool

    @property
    def persistent(self) -> bool:
        """Whether another request may follow."""
        options = {
            option.strip().lower()
            for name in ("connection", "proxy-connection")
            for value in values(self.headers, name)
            for option in value.split(",")
        }
        return not self.old and "close" not in options

    @property
    def expects(self) -> bool:
        """Whether the body comes once it is asked for."""
        return not self.old and [value.lower() for value in values(self.headers, "expect")] == ["100-continue"]


def parse_head(raw: bytes) -> Head:
    """A head, up to and with its empty line.

    Raises:
        BadHead.
    """
    first, *lines = raw.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")
    method, target, version = _request_line(first)
    if len(lines) > MAX_HEADERS:
        raise BadHead(431, "too_many_headers", f"A request has at most {MAX_HEADERS} header fields.")
    headers = tuple(_field(line) for line in lines)
    old = version == "HTTP/1.0"
    hosts = values(headers, "host")
    if len(hosts) > 1 or (not hosts and not old):
        raise BadHead(400, "bad_host", "A request names its host once.")
    try:
        framing = body_framing(headers, http_1_0=old)
    except BadFraming as error:
        raise BadHead(400, "bad_framing", f"{error}.") from error
    if values(headers, "expect") and [value.lower() for value in values(headers, "expect")] != ["100-continue"]:
        raise BadHead(417, "bad_expectation", "The only thing to expect is 100-continue.")
    return Head(method, target, headers, framing, old)


def _request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]) or not parts[1] or not _VERSION.fullmatch(parts[2]):
        raise BadHead(400, "bad_request_line", "This is no request of HTTP/1.1.")
    if parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadHead(505, "bad_version", "HTTP/1.1 is spoken here.")
    if any(not "!" <= letter <= "~" for letter in parts[1]):
        raise BadHead(400, "bad_target", "A target has no control characters and nothing beyond ASCII.")
    return parts[0], parts[1], parts[2]


def _field(line: str) -> Header:
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon or lowered(name) is None or not is_value(value):
        raise BadHead(400, "bad_header", "A header field is a name, a colon and a value, in one line.")
    return name, value
