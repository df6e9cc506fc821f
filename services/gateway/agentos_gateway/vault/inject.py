"""Placeholders: ``{{secret:name}}`` in a request stands for a secret, where the secret may go."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from agentos_gateway.address import Target
from agentos_shared.domain.secrets import Place

_NAMED: Final = r"secret:([A-Za-z0-9][A-Za-z0-9_.-]{0,99})"
_PLAIN: Final = re.compile(r"\{\{\s{0,4}" + _NAMED + r"\s{0,4}\}\}")
#: As a URL carries it.
_QUOTED: Final = re.compile(
    r"(?:\{\{|%7[Bb]%7[Bb])secret(?::|%3[Aa])([A-Za-z0-9][A-Za-z0-9_.-]{0,99})(?:\}\}|%7[Dd]%7[Dd])"
)


#: Hosts to which a secret may go unencrypted: it does not leave the machine.
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class NotAllowed(Exception):
    """A secret may not go there; nothing of it is in the message."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is open, and where it may go."""

    secret_id: str
    name: str
    version: int
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    places: tuple[str, ...]
    value: str = field(repr=False)

    def require(self, target: Target, method: str, place: Place) -> None:
        """Raises NotAllowed: ``secret.host_not_bound``, ``secret.method_not_bound``, ``secret.place_not_bound``."""
        if not any(_covers(pattern, target.host) for pattern in self.hosts):
            raise NotAllowed("secret.host_not_bound", f"The secret {self.name} is not bound to {target.host}.")
        if target.scheme != "https" and target.host not in _HERE:
            raise NotAllowed("secret.not_encrypted", f"The secret {self.name} goes out over https alone.")
        if self.methods and method not in self.methods:
            raise NotAllowed("secret.method_not_bound", f"The secret {self.name} is not bound to {method}.")
        if place not in self.places:
            raise NotAllowed("secret.place_not_bound", f"The secret {self.name} may not stand in a request's {place}.")


@dataclass(frozen=True, slots=True)
class Filled:
    """A request with its secrets in place."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    used: tuple[Secret, ...]


def names(url: str, headers: Sequence[tuple[str, str]], body: bytes) -> set[str]:
    """The secrets that a request names."""
    found = set(_QUOTED.findall(url)) | {name for _, value in headers for name in _PLAIN.findall(value)}
    if b"{{" in body:
        found |= set(_PLAIN.findall(body.decode(errors="replace")))
    return found


def fill(
    target: Target,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    secrets: dict[str, Secret],
) -> Filled:
    """Put secrets where a request names them.

    Raises:
        NotAllowed: ``secret.not_found``, or what :meth:`Secret.require` says.
    """
    used: dict[str, Secret] = {}

    def placed(place: Place, shown: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
        def one(match: re.Match[str]) -> str:
            name = match.group(1)
            secret = secrets.get(name)
            if secret is None:
                raise NotAllowed("secret.not_found", f"There is no secret {name} in this workspace.")
            secret.require(target, method, place)
            used[name] = secret
            return shown(secret.value)

        return one

    start, mark, query = url.partition("?")
    if _QUOTED.search(start):
        raise NotAllowed("secret.place_not_bound", "A secret may stand in a URL's query, nowhere else in it.")
    url = start + mark + _QUOTED.sub(placed("query", lambda value: quote(value, safe="")), query)
    filled = tuple((name, _PLAIN.sub(placed("header", _one_line), value)) for name, value in headers)
    if b"{{" in body:
        text = body.decode(errors="surrogateescape")
        body = _PLAIN.sub(placed("body", lambda value: value), text).encode(errors="surrogateescape")
    return Filled(url, filled, body, tuple(used.values()))


def _one_line(value: str) -> str:
    if any(ord(letter) < 32 or ord(letter) > 255 for letter in value):
        raise NotAllowed("secret.place_not_bound", "This secret has line breaks or letters that no header may have.")
    return value


def _covers(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else pattern == host
