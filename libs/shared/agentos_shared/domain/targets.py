"""The one strict parser of URLs that leave this machine.

Every check and every connection works on the :class:`Target` made here, never on the text again, so that two readings
of one text cannot differ. What browsers, curl and libraries read differently (user names, backslashes, numbers as
hosts, dots that look like dots, percent signs in hosts, dot segments) is refused rather than repaired: an agent can
write the plain form. The message never repeats the text, which may hold a secret.
"""

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

import idna

MAX_URL: Final = 8192
MAX_HOST: Final = 253
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# The ports that the Fetch standard refuses: their protocols have been tricked into obeying what HTTP sends.
REFUSED_PORTS: Final = frozenset([
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
])  # fmt: skip

_SCHEME = re.compile(r"(https?)://(?=[^/])", re.ASCII | re.IGNORECASE)
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_IPV4 = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}", re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_ESCAPE = "%[0-9A-Fa-f]{2}"
_PATH = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@/|^\[\]-]|{_ESCAPE})*", re.ASCII)
_QUERY = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?|^\[\]{{}}`-]|{_ESCAPE})*", re.ASCII)
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?", re.ASCII)
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.{1,2}(?:$|[/\\;])")


class BadTarget(ValueError):
    """A URL that is not taken, with a code for machines and a sentence for people.

    Codes: ``too_long``, ``bad_character``, ``bad_scheme``, ``userinfo``, ``no_host``, ``bad_host``, ``numeric_host``,
    ``trailing_dot``, ``zone_id``, ``idna``, ``bad_port``, ``port_refused``, ``bad_path``, ``dot_segment``,
    ``fragment``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    Attributes:
        scheme: ``http`` or ``https``.
        host: ASCII and lower case; of an IPv6 address its shortest form, without brackets.
        port: 1 to 65535.
        path: as it was written, at least ``/``, without dot segments.
        query: what follows ``?``; None without one (an empty query is not none).
        is_ip: the host is an address, so nothing is looked up.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None
    is_ip: bool

    @property
    def bracketed(self) -> str:
        """The host as URLs write it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """The value of ``Host``: the port only where it is not the scheme's own."""
        return self.bracketed if DEFAULT_PORTS[self.scheme] == self.port else f"{self.bracketed}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port; credentials stay within one."""
        return f"{self.scheme}://{self.bracketed}:{self.port}"

    @property
    def request_target(self) -> str:
        """What stands in the request line."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def url(self) -> str:
        """The one form that is recorded, approved and digested."""
        return f"{self.scheme}://{self.authority}{self.request_target}"


def parse(url: str) -> Target:
    """An absolute ``http`` or ``https`` URL.

    Raises:
        BadTarget: it is not one, or can be read in more than one way.
    """
    if len(url) > MAX_URL:
        raise BadTarget("too_long", f"a URL has at most {MAX_URL} characters")
    _refuse_controls(url)
    scheme_match = _SCHEME.match(url)
    if scheme_match is None:
        raise BadTarget("bad_scheme", "a URL begins with http:// or https:// and a host")
    scheme = scheme_match[1].lower()
    rest = url[scheme_match.end() :]
    end = _AUTHORITY_END.search(rest)
    authority, tail = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    host, port, is_ip = _authority(authority, DEFAULT_PORTS[scheme])
    path, query = _path_and_query(tail)
    return Target(scheme, host, port, path, query, is_ip)


def parse_authority(authority: str) -> Target:
    """``host:port`` as CONNECT names it, as the root of an ``https`` origin. The port must be there.

    Raises:
        BadTarget: as :func:`parse` does.
    """
    if len(authority) > MAX_HOST + 8:
        raise BadTarget("too_long", f"a host has at most {MAX_HOST} characters")
    _refuse_controls(authority)
    if _AUTHORITY_END.search(authority):
        raise BadTarget("bad_host", "CONNECT names a host and a port, nothing else")
    host, port, is_ip = _authority(authority, None)
    return Target("https", host, port, "/", None, is_ip)


def _refuse_controls(text: str) -> None:
    if "\\" in text:
        raise BadTarget("bad_character", "backslashes are read as slashes by some; write %5C")
    for letter in text:
        if letter <= " " or letter == "\x7f" or (letter > "\x7f" and unicodedata.category(letter)[0] in "CZ"):
            raise BadTarget("bad_character", "spaces and control characters are percent-encoded in a URL")


def _authority(authority: str, default_port: int | None) -> tuple[str, int, bool]:
    """Host, port, and whether the host is an address."""
    if "@" in authority:
        raise BadTarget("userinfo", "user names and passwords in a URL are not sent; use a header or a secret")
    if "%" in authority:
        code = "zone_id" if authority.startswith("[") else "bad_host"
        raise BadTarget(code, "a host holds no percent sign")
    if authority.startswith("["):
        literal, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise BadTarget("bad_host", "an IPv6 address stands between brackets")
        return _ipv6(literal), _port(after[1:] if after else None, default_port), True
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise BadTarget("bad_host", "an IPv6 address stands between brackets")
    name, is_ip = _host(host)
    return name, _port(port if colon else None, default_port), is_ip


def _port(text: str | None, default: int | None) -> int:
    if text is None:
        if default is None:
            raise BadTarget("bad_port", "the port is missing")
        return default
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise BadTarget("bad_port", "a port is a number from 1 to 65535, without zeros in front")
    port = int(text)
    if port in REFUSED_PORTS:
        raise BadTarget("port_refused", f"port {port} belongs to another protocol than HTTP")
    return port


def _ipv6(text: str) -> str:
    try:
        return IPv6Address(text).compressed
    except AddressValueError as error:
        raise BadTarget("bad_host", "what stands between the brackets is no IPv6 address") from error


def _host(text: str) -> tuple[str, bool]:
    if not text:
        raise BadTarget("no_host", "the URL names no host")
    name = _ascii_host(text)
    if name.endswith("."):
        raise BadTarget("trailing_dot", "write the host without the dot at its end")
    if len(name) > MAX_HOST:
        raise BadTarget("bad_host", f"a host has at most {MAX_HOST} characters")
    if _IPV4.fullmatch(name):
        try:
            return str(IPv4Address(name)), True
        except AddressValueError as error:
            raise BadTarget("numeric_host", "an IPv4 address is four numbers from 0 to 255") from error
    labels = name.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        raise BadTarget("numeric_host", "an IPv4 address is written as four decimal numbers without zeros in front")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise BadTarget("bad_host", "a host is labels of letters, digits and hyphens, joined by single dots")
        if label[2:4] == "--":
            _check_punycode(label)
    return name, False


def _ascii_host(text: str) -> str:
    """The host in lower-case ASCII, by IDNA 2008. Only ASCII is lowered: the Kelvin sign must not become a k."""
    if text.isascii():
        return text.lower()
    try:
        labels = [
            label.lower() if label.isascii() else idna.alabel("".join(_lowered(x) for x in label)).decode("ascii")
            for label in text.split(".")
        ]
    except (idna.IDNAError, UnicodeError) as error:
        raise BadTarget("idna", "the host has characters that a domain name cannot have (IDNA 2008)") from error
    return ".".join(labels)


def _lowered(letter: str) -> str:
    return letter.lower() if letter.isascii() else letter


def _check_punycode(label: str) -> None:
    """What looks encoded must decode to a name that encodes to the same label."""
    try:
        same = label.startswith("xn--") and idna.alabel(idna.ulabel(label)).decode("ascii") == label
    except (idna.IDNAError, UnicodeError):
        same = False
    if not same:
        raise BadTarget("idna", "a label of the host looks like encoded Unicode but is not (IDNA 2008)")


def _path_and_query(tail: str) -> tuple[str, str | None]:
    if "#" in tail:
        raise BadTarget("fragment", "a fragment is never sent; leave it out")
    if not tail.isascii():
        raise BadTarget("bad_path", "letters outside of ASCII are percent-encoded (UTF-8) in path and query")
    path, question, query = tail.partition("?")
    path = path or "/"
    if not _PLAIN_PATH.fullmatch(path):
        _check_path(path)
    if question and not _QUERY.fullmatch(query):
        raise BadTarget("bad_path", "the query has a character that is percent-encoded, or a % without two hex digits")
    return path, query if question else None


def _check_path(path: str) -> None:
    """Servers differ in what they make of dot segments, also of encoded ones, and rules go by the path."""
    if not _PATH.fullmatch(path):
        raise BadTarget("bad_path", "the path has a character that is percent-encoded, or a % without two hex digits")
    plain = re.sub("%([0-9A-Fa-f]{2})", lambda escape: chr(int(escape[1], 16)), path)
    if "\x00" in plain:
        raise BadTarget("bad_path", "the path holds an encoded NUL")
    if _DOT_SEGMENT.search(plain):
        raise BadTarget("dot_segment", "write the path without . and .. segments, also encoded ones")
    if _DOT_SEGMENT.search(re.sub("%([0-9A-Fa-f]{2})", lambda escape: chr(int(escape[1], 16)), plain)):
        raise BadTarget("dot_segment", "the path holds dot segments that are encoded twice")
