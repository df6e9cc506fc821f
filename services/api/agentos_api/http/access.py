"""Who may call at all: Host, Origin, workspace and credential of a request, before anything else looks at it.

A browser is the way in for strangers on a machine that trusts its own loopback: a page may send requests here (hence
the Origin check on writes), or make its own name point here (hence the Host check, against DNS rebinding).
"""

import hmac
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from agentos_api.registry.bearers import Bearers
from agentos_api.registry.registry import Registry
from agentos_api.settings import ApiSettings, is_loopback
from agentos_shared.contracts.subjects import WORKSPACE_ID
from agentos_shared.domain import principals
from agentos_shared.domain.capability_checks import VerifiedCapability
from agentos_shared.domain.engine_checks import VerifiedEngine, missing_token
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid, Unauthorized
from agentos_shared.host.lifecycle import CLOCK, Clock
from agentos_shared.tokens import links
from agentos_shared.tokens.biscuits import PREFIX

DEFAULT_WORKSPACE: Final = "ws_dev"
SESSION_COOKIE: Final = "agentos_session"
MAX_HEADER_BYTES: Final = 32 * 1024
#: Answered without a credential: they tell that the process is there, and nothing of what it holds.
PUBLIC: Final = frozenset({"/healthz", "/readyz", "/health"})


_CAPABILITY: Final = PREFIX.encode()
_ENGINE_TOKEN: Final = re.compile(rb"engtok_[A-Za-z0-9_-]{43}")


class Identity(NamedTuple):
    """Who a request's credentials prove.

    Args:
        actor: None: nobody is proved, and in open mode the actor is the caller's own claim.
        engine: where the credentials are an engine's.
        capability: where they are a capability token.
        approver: the person as whom it may decide; None: nobody is proved to be one.
    """

    actor: Actor | None = None
    engine: VerifiedEngine | None = None
    capability: VerifiedCapability | None = None
    approver: Actor | Literal["as claimed"] | None = "as claimed"

    @property
    def rooms(self) -> Collection[str] | None:
        """The rooms that the credentials cover; None: all."""
        if self.engine is not None:
            return self.engine.rooms
        return None if self.capability is None else self.capability.bounds.rooms

    def require_room(self, room_id: str | None) -> None:
        """Raises Forbidden where the credentials do not cover a room (None: the workspace itself)."""
        if self.engine is not None:
            self.engine.require_room(room_id)
            if room_id is None and self.engine.rooms is not None:
                raise Forbidden(
                    "engine_room_not_allowed", "This token covers some rooms only, and this is of none of them."
                )
        if self.capability is not None:
            self.capability.require_room(room_id)


_NOBODY: Final = Identity()


class HeadersTooLarge(DomainError):
    """431: more header bytes than any honest client sends."""

    status = 431


class Access:
    """The door of the API, over HTTP and NATS.

    Args:
        local_token: the local user's.
        registry: where engine credentials are checked.
        bearers: where capability tokens are.
    """

    def __init__(
        self, settings: ApiSettings, local_token: str | None, registry: Registry, bearers: Bearers, clock: Clock = CLOCK
    ) -> None:
        self._registry = registry
        self._bearers = bearers
        self._enforced = settings.auth == "enforced"
        self._proven_approver = settings.approver == "session" and not self._enforced
        self._token = local_token or None
        self._clock = clock
        self._started_at = clock.now()
        self._used: OrderedDict[str, datetime] = OrderedDict()
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

    async def identify(
        self, headers: Mapping[bytes, bytes], workspace_id: str, *, engine_in_body: bool = False
    ) -> Identity:
        """Who calls. Credentials of an engine and capability tokens are checked in open mode too, once they are sent.

        Args:
            headers: by lower-case name.
            engine_in_body: the body may bring an engine's credentials, so that a request without others is let in to
                :meth:`engine`, which must then be asked.

        Raises:
            Unauthorized: ``missing_bearer_token``, ``invalid_token``, or as :meth:`Registry.identify` and
                :meth:`Bearers.identify`.
            Forbidden, TryLater: as these.
        """
        bearer = headers.get(b"authorization", b"")
        if b"x-engine-id" in headers or b"x-engine-token" in headers or b"engtok_" in bearer:
            engine = await self._engine_of(headers, workspace_id)
            if engine is not None:
                return Identity(engine.actor, engine)
        if _CAPABILITY in bearer:
            capability = await self._bearers.identify(workspace_id, (_token(headers) or b"").decode("latin-1"))
            approver: Literal["as claimed"] | None = None if self._proven_approver else "as claimed"
            return Identity(capability.actor, capability=capability, approver=approver)
        if self._proven_approver:
            return Identity(approver=self._local_user(headers, workspace_id))
        if not self._enforced:
            return _NOBODY
        if _token(headers) is None and _cookie(headers) is None:
            if engine_in_body:
                return _NOBODY
            raise Unauthorized(
                "missing_bearer_token",
                "Send `Authorization: Bearer <token>`, or sign in by the link of `agentos open`.",
            )
        user = self._local_user(headers, workspace_id)
        if user is None:
            raise Unauthorized("invalid_token", "This token is not valid.")
        return Identity(user)

    def _local_user(self, headers: Mapping[bytes, bytes], workspace_id: str) -> Actor | None:
        """The local user, whose token or session this is; None: it is not."""
        token, session = _token(headers), _cookie(headers)
        if self._token is None:
            return None
        if token is not None:
            proved = hmac.compare_digest(token, self._token.encode())
        else:
            proved = session is not None and links.is_session(self._token, session, self._clock.now())
        return principals.actor(workspace_id, "user", "local") if proved else None

    def session(self, code: str) -> str:
        """A session of the local user's, for the code of a one-time link.

        Raises:
            Unauthorized: ``one_time_link_invalid``: forged, used, older than five minutes or than this process.
        """
        now = self._clock.now()
        made_at = None if self._token is None else links.link_made_at(self._token, code, now)
        while self._used and next(iter(self._used.values())) + links.LINK_LIFE <= now:
            self._used.popitem(last=False)
        # What was used before the start is not remembered, so it is refused by its age.
        if self._token is None or made_at is None or made_at < self._started_at or code in self._used:
            raise Unauthorized(
                "one_time_link_invalid", "This link was used or is too old; `agentos open` makes another."
            )
        self._used[code] = now
        return links.session(self._token, now)

    async def engine(
        self,
        identity: Identity,
        workspace_id: str,
        engine_id: str | None,
        token: str | None,
        action: str,
        room_id: str | None = None,
    ) -> VerifiedEngine | None:
        """The engine that asks for one of its own actions; None in open mode when no credentials were sent at all.

        Args:
            identity: of the headers, which win over the body.
            engine_id, token: from the body.
            action, room_id: as :meth:`Registry.verify`.

        Raises:
            Unauthorized, Forbidden, TryLater: as :meth:`Registry.verify`; in enforced mode ``missing_engine_token``
                when there are none.
        """
        if identity.engine is not None:
            identity.engine.require(action, room_id)
            return identity.engine
        if engine_id is None and token is None and not self._enforced and identity.capability is None:
            return None
        return await self._registry.verify(workspace_id, engine_id, token, action, room_id)

    async def recheck(self, engine: VerifiedEngine) -> None:
        """Raises as :meth:`Registry.recheck` when an engine's token does not count any more."""
        await self._registry.recheck(engine.workspace_id, engine.engine_id, engine.token_id)

    async def recheck_identity(self, identity: Identity) -> None:
        """Raises Unauthorized or Forbidden when credentials that were good do not count any more."""
        if identity.engine is not None:
            await self.recheck(identity.engine)
        if identity.capability is not None:
            await self._bearers.recheck(identity.capability)

    async def _engine_of(self, headers: Mapping[bytes, bytes], workspace_id: str) -> VerifiedEngine | None:
        engine_id, token = headers.get(b"x-engine-id"), headers.get(b"x-engine-token")
        if engine_id is not None or token is not None:
            if not engine_id or not token:
                raise missing_token()
            return await self._registry.identify(workspace_id, engine_id.decode("latin-1"), token.decode("latin-1"))
        given = _token(headers)
        if given is None or _ENGINE_TOKEN.fullmatch(given) is None:
            return None
        return await self._registry.bearer(workspace_id, given.decode("ascii"))


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
    return token.strip() or None if scheme.lower() == b"bearer" else None


def _cookie(headers: Mapping[bytes, bytes]) -> str | None:
    for cookie in headers.get(b"cookie", b"").split(b";"):
        name, _, value = cookie.strip().partition(b"=")
        if name.decode("latin-1") == SESSION_COOKIE and value:
            return value.decode("latin-1")
    return None
