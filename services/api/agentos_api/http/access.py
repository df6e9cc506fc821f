"""Who may call at all: Host, Origin, workspace and credential of a request, before anything else looks at it.

A browser is the way in for strangers on a machine that trusts its own loopback: a page may send requests here (hence
the Origin check on writes), or make its own name point here (hence the Host check, against DNS rebinding).
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from agentos_api.settings import ApiSettings, is_loopback
from agentos_shared.contracts.subjects import WORKSPACE_ID
from agentos_shared.domain import principals
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid, Unauthorized

DEFAULT_WORKSPACE: Final = "ws_dev"
SESSION_COOKIE: Final = "agentos_session"
MAX_HEADER_BYTES: Final = 32 * 1024
#: Answered without a credential: they tell that the process is there, and nothing of what it holds.
PUBLIC: Final = frozenset({"/healthz", "/readyz", "/health"})


class HeadersTooLarge(DomainError):
    """431: more header bytes than any honest client sends."""

    status = 431


class Access:
    """The door of the HTTP API."""

    def __init__(self, settings: ApiSettings, local_token: str | None) -> None:
        self._enforced = settings.auth == "enforced"
        self._token = local_token.encode() if local_token else None
        self._hosts = {host.strip().lower() for host in settings.allowed_hosts.split(",") if host.strip()}
        self._origins = {origin.strip().rstrip("/").lower() for origin in settings.allowed_origins.split(",")} - {""}
        self._allowed_host = lru_cache(maxsize=256)(self._is_allowed_host)

    def check(self, headers: Mapping[bytes, bytes], *, write: bool) -> None:
        """Refuse a request that a stranger's page may have sent.

        Raises:
            Forbidden: ``host_not_allowed`` or ``origin_not_allowed``.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._allowed_host(host):
            raise Forbidden(
                "host_not_allowed", "This Host is not served here; use 127.0.0.1, or name it in AGENTOS_ALLOWED_HOSTS."
            )
        if not write:
            return
        origin = headers.get(b"origin")
        if origin is not None and not self._allowed_origin(origin.decode("latin-1").lower(), host.lower()):
            raise Forbidden(
                "origin_not_allowed", "Pages of this Origin may not write here; name it in AGENTOS_ALLOWED_ORIGINS."
            )
        if origin is None and headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            raise Forbidden("origin_not_allowed", "Pages of other sites may not write here.")

    def _is_allowed_host(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (is_loopback(name) or name in self._hosts or host.lower() in self._hosts)

    def _allowed_origin(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc == host

    def actor(self, headers: Mapping[bytes, bytes], workspace_id: str) -> Actor | None:
        """The authenticated actor, or None in open mode, where the actor is the caller's own claim.

        Raises:
            Unauthorized: ``missing_bearer_token`` or ``invalid_token``.
        """
        if not self._enforced:
            return None
        token = _token(headers)
        if token is None:
            raise Unauthorized("missing_bearer_token", "Send `Authorization: Bearer <token>`.")
        if self._token is None or not hmac.compare_digest(token, self._token):
            raise Unauthorized("invalid_token", "This token is not valid.")
        return principals.actor(workspace_id, "user", "local")


def workspace_of(headers: Mapping[bytes, bytes]) -> str:
    """The request's workspace. Raises Invalid: ``invalid_workspace_id``."""
    given = headers.get(b"x-workspace-id")
    if given is None:
        return DEFAULT_WORKSPACE
    workspace_id = given.decode("latin-1").strip()
    if not workspace_id:
        return DEFAULT_WORKSPACE
    if WORKSPACE_ID.fullmatch(workspace_id) is None:
        raise Invalid("invalid_workspace_id", "x-workspace-id must be 1 to 64 of the characters A-Z a-z 0-9 _ -.")
    return workspace_id


def _name(host: str) -> str | None:
    """The name in a Host header, without its port; None when it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return name.lower() if bracket and (not port or (port[1:].isdigit() and port[0] == ":")) else None
    name, colon, port = host.partition(":")
    if not name or (colon and not port.isdigit()):
        return None
    return name.lower()


def _token(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token.strip():
        return token.strip()
    for cookie in headers.get(b"cookie", b"").split(b";"):
        name, _, value = cookie.strip().partition(b"=")
        if name.decode("latin-1") == SESSION_COOKIE and value:
            return value
    return None
