"""The live registry: engines, their tokens and capabilities, folded from events and checked at every use.

What this process commits is folded at once, before its answer goes out. What other processes commit is announced by
hints; a hint makes the next check read the store. A hint may be late or lost, so nothing is believed for longer than
:data:`MAX_AGE_S` without having asked the store, and without hints every check asks. A refusal is never given on what
was only remembered: what was issued a moment ago elsewhere counts. If the store does not answer, nobody is let in.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

import asyncpg
import structlog
from nats.aio.client import Client

from agentos_api.append.appender import Committed
from agentos_api.append.stream_cache import ABSENT, Entry, advance, fold
from agentos_api.live.hints import Hints
from agentos_shared.contracts import subjects
from agentos_shared.domain import capability_checks, engines
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.capability_checks import VerifiedCapability
from agentos_shared.domain.delegations import MAX_DEPTH
from agentos_shared.domain.engine_checks import VerifiedEngine, checked, missing_token
from agentos_shared.domain.engines import Engine, Token, digest_of
from agentos_shared.domain.errors import DomainError, TryLater
from agentos_shared.domain.principals import Principal
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, RNG, Clock, Rng
from agentos_shared.store import statements
from agentos_shared.store.reader import read_entities
from agentos_shared.tokens.biscuits import Opened

log = structlog.get_logger()

SQL: Final = statements.load("agentos_api.registry", "registry.sql")
REFUSED: Final = metrics.counter("engine_credentials_refused", "Engine credentials that were refused.", ("code",))
SEEING: Final = metrics.gauge("engine_hints_seeing", "1 while hints of other processes' revocations arrive.")

#: Seconds for which what the store said is believed without asking again.
MAX_AGE_S: Final = 0.1
MAX_HELD: Final = 20_000
TIMEOUT_S: Final = 5.0
_TYPES: Final = frozenset({"engine", "capability", "principal"})
_UNAVAILABLE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
S = TypeVar("S")
Proved = TypeVar("Proved")

#: Which of an engine's tokens was brought, or None.
Pick: TypeAlias = Callable[[Engine], Token | None]


class _Held:
    """A folded entity, and when the read began that last found it so."""

    __slots__ = ("entry", "read_at")

    def __init__(self, entry: Entry, read_at: float) -> None:
        self.entry = entry
        self.read_at = read_at


class _Workspace:
    """How far a workspace's stream is known, and when somebody else last moved it."""

    __slots__ = ("moved_at", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.moved_at = float("-inf")


class Registry:
    """Checks engine credentials for this process.

    Args:
        nats: where other processes' commits are announced; None: every check asks the store.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        nats: Client | None,
        *,
        clock: Clock = CLOCK,
        rng: Rng = RNG,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._workspaces: OrderedDict[str, _Workspace] = OrderedDict()
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._used: set[str] = set()
        self._wanted: set[str] = set()
        self._next: asyncio.Future[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._occupied = asyncio.Event()
        self._hints = (
            None
            if nats is None
            else Hints(
                nats,
                self._occupied,
                self.on_hint,
                clock=clock,
                rng=rng,
                filter_subject=subjects.WORKSPACE_EVENTS,
                seeing=SEEING,
            )
        )

    async def start(self) -> None:
        """Begin to listen. Idempotent."""
        if self._hints is not None:
            await self._hints.start()

    async def stop(self) -> None:
        """Idempotent."""
        if self._hints is not None:
            await self._hints.stop()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def verify(
        self, workspace_id: str, engine_id: str | None, token: str | None, action: str, room_id: str | None = None
    ) -> VerifiedEngine:
        """The engine that these credentials prove, if its token covers an action.

        Args:
            action: one of those in :mod:`agentos_shared.domain.engines`.
            room_id: where it acts; None: any of its rooms will do (a claim is then limited to ``rooms`` of the answer).

        Raises:
            Unauthorized: ``missing_engine_token``, ``engine_token_invalid``, ``engine_token_expired``,
                ``capability_token_expired``.
            Forbidden: ``engine_inactive``, ``capability_token_revoked``, ``capability_principal_mismatch``,
                ``engine_action_not_allowed``, ``engine_room_not_allowed``, ``engine_room_scope_required``.
            TryLater: ``store_unavailable``.
        """
        engine = await self.identify(workspace_id, engine_id, token)
        engine.require(action, room_id)
        return engine

    async def identify(self, workspace_id: str, engine_id: str | None, token: str | None) -> VerifiedEngine:
        """As :meth:`verify`, whatever the token covers."""
        if not engine_id or not token:
            raise missing_token()
        secret = token
        return await self._prove(workspace_id, engine_id, lambda engine: engine.token_of(secret))

    async def recheck(self, workspace_id: str, engine_id: str, token_id: str) -> VerifiedEngine:
        """As :meth:`identify`, of an engine that was verified some time ago: its claim may have waited since.

        Args:
            token_id: of the token that it brought.
        """
        return await self._prove(workspace_id, engine_id, lambda engine: engine.tokens.get(token_id))

    async def _prove(self, workspace_id: str, engine_id: str, pick: Pick) -> VerifiedEngine:
        try:
            return await self._certain(lambda since: self._checked(workspace_id, engine_id, pick, since))
        except DomainError as refused:
            if not isinstance(refused, TryLater):
                REFUSED.labels(refused.code).inc()
            raise

    async def capability(self, opened: Opened) -> VerifiedCapability:
        """What a capability token allows, as its capability and those above it stand now.

        Args:
            opened: its signatures hold.

        Raises:
            Unauthorized: ``capability_token_not_found``, ``capability_token_expired``.
            Forbidden: ``capability_token_revoked``, ``capability_principal_mismatch``.
            TryLater: ``store_unavailable``.
        """
        granted = opened.granted
        verified = VerifiedCapability(
            granted.workspace_id, granted.token_id, granted.actor, opened.bounds, opened.narrowed, opened.uses
        )
        return await self.recheck_capability(verified)

    async def recheck_capability(self, verified: VerifiedCapability) -> VerifiedCapability:
        """As :meth:`capability`, of one that was verified some time ago."""
        return await self._certain(lambda since: self._chain(verified, since))

    async def _chain(self, verified: VerifiedCapability, since: float) -> VerifiedCapability:
        workspace_id, wanted = verified.workspace_id, verified.token_id
        ancestry: list[tuple[str, Capability | None]] = []
        while True:
            capability = await self._state(Capability, workspace_id, wanted, since)
            ancestry.append((wanted, capability))
            if capability is None or capability.parent_token_id is None or len(ancestry) > MAX_DEPTH:
                break
            wanted = capability.parent_token_id
        ended = capability is not None and await self._engine_token_ended(workspace_id, wanted, capability, since)
        found = capability_checks.checked(
            workspace_id, verified.actor, verified.bounds, ancestry, ended, self._clock.now()
        )
        return verified._replace(ancestry=found)

    async def _engine_token_ended(self, workspace_id: str, token_id: str, root: Capability, since: float) -> bool:
        """The capability of an engine's token ends with the token, which the engine's events tell."""
        held = self._held.get(root.principal_id)  # a principal never changes
        principal = held.entry.state if held else await self._state(Principal, workspace_id, root.principal_id, since)
        if not isinstance(principal, Principal) or principal.actor_type != "service":
            return False
        engine = await self._state(Engine, workspace_id, engines.engine_id(workspace_id, principal.actor_id), since)
        tokens = () if engine is None else engine.tokens.values()
        return any(token.revoked for token in tokens if token.capability_token_id == token_id)

    async def _certain(self, check: Callable[[float], Awaitable[Proved]]) -> Proved:
        """What a check says, given how old what it looks at may be. No refusal is given on memory alone."""
        self._occupied.set()
        now = self._clock.monotonic()
        seeing = self._hints is not None and self._hints.seeing
        try:
            return await check(now - MAX_AGE_S if seeing else now)
        except DomainError as remembered:
            if isinstance(remembered, TryLater):
                raise
        return await check(now)

    async def bearer(self, workspace_id: str, token: str) -> VerifiedEngine:
        """The engine of a token that came without the engine's id.

        Raises:
            Unauthorized, Forbidden, TryLater: as :meth:`identify`.
        """
        digest = digest_of(token)
        engine_id = self._owners.get(digest)
        if engine_id is None:
            try:
                engine_id = await self._pool.fetchval(SQL["engine_of_digest"], workspace_id, digest, timeout=TIMEOUT_S)
            except _UNAVAILABLE as error:
                raise _unavailable(error) from None
            if engine_id is not None:
                self._owners[digest] = engine_id
                _bound(self._owners)
        return await self.identify(workspace_id, engine_id or "eng_unknown", token)

    async def _checked(self, workspace_id: str, engine_id: str, pick: Pick, since: float) -> VerifiedEngine:
        engine = await self._state(Engine, workspace_id, engine_id, since)
        token = pick(engine) if engine else None
        capability = await self._state(Capability, workspace_id, token.capability_token_id, since) if token else None
        return checked(workspace_id, engine_id, engine, token, capability, self._clock.now())

    # -- what is known

    async def _state(self, kind: type[S], workspace_id: str, entity_id: str, since: float) -> S | None:
        workspace = self._workspaces.get(workspace_id)
        if workspace is not None:
            since = max(since, workspace.moved_at)
        held = self._held.get(entity_id)
        if held is None or held.read_at < since:
            await self._read(entity_id)
            held = self._held.get(entity_id)
        self._used.add(entity_id)
        state = held.entry.state if held is not None else None
        return state if isinstance(state, kind) else None

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Fold what this process has just committed."""
        for event in (committed.event for committed in batch):
            if event.stream_type != "workspace":
                continue
            workspace = self._workspace(event.workspace_id)
            if event.stream_seq != workspace.seq + 1:  # somebody else wrote in between
                workspace.moved_at = self._clock.monotonic()
            workspace.seq = max(workspace.seq, event.stream_seq)
            if event.entity_type not in _TYPES:
                continue
            held = self._held.get(event.entity_id)
            if event.entity_version == 1:
                self._keep(event.entity_id, advance(ABSENT, event), self._clock.monotonic())
            elif held is not None and held.entry.version + 1 == event.entity_version:
                held.entry = advance(held.entry, event)
            elif held is not None and held.entry.version < event.entity_version:
                del self._held[event.entity_id]

    def on_hint(self, key: tuple[str, str], seq: int, _traceparent: str | None = None) -> None:
        """Somebody committed up to this place. May be repeated, late, or out of order."""
        workspace = self._workspace(key[1])
        if seq > workspace.seq:
            workspace.seq = seq
            workspace.moved_at = self._clock.monotonic()

    def _workspace(self, workspace_id: str) -> _Workspace:
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            workspace = self._workspaces[workspace_id] = _Workspace()
            _bound(self._workspaces)
        return workspace

    def _keep(self, entity_id: str, entry: Entry, read_at: float) -> None:
        self._held[entity_id] = _Held(entry, read_at)
        self._held.move_to_end(entity_id)
        _bound(self._held)

    # -- asking the store

    async def _read(self, entity_id: str) -> None:
        """Bring an entity up to what the store has from now on; all who ask meanwhile share the next read."""
        self._wanted.add(entity_id)
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
        done = self._next
        if self._reading is None:
            self._reading = loop.create_task(self._read_wanted())
        await asyncio.shield(done)

    async def _read_wanted(self) -> None:
        try:
            while self._next is not None:
                done, self._next = self._next, None
                # Those in use come along: they would ask within the same tenth of a second, each by itself.
                wanted, self._wanted, used, self._used = self._wanted, set(), self._used, set()
                began = self._clock.monotonic()
                try:
                    await self._refresh(wanted | used, began)
                except _UNAVAILABLE as error:
                    done.set_exception(_unavailable(error))
                    done.exception()  # nobody may be waiting any more
                else:
                    done.set_result(None)
        finally:
            self._reading = None

    async def _refresh(self, ids: Iterable[str], began: float) -> None:
        async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
            rows = await connection.fetch(SQL["versions"], sorted(ids), timeout=TIMEOUT_S)
            changed: list[str] = []
            for row in rows:
                held = self._held.get(row["entity_id"])
                if held is None or held.entry.version < row["entity_version"]:
                    changed.append(row["entity_id"])
                else:  # or newer: committed by this process since the read
                    held.read_at = began
            found = await read_entities(connection, changed) if changed else {}
        for entity_id, events in found.items():
            entry = fold(events)
            held = self._held.get(entity_id)
            if held is None or held.entry.version <= entry.version:
                self._keep(entity_id, entry, began)
            else:
                held.read_at = began


def _unavailable(error: BaseException) -> TryLater:
    log.warning("registry_read_failed", error=f"{type(error).__name__}: {error}")
    return TryLater("store_unavailable", "Engine credentials cannot be checked just now; try again.")


def _bound(remembered: "OrderedDict[str, S]") -> None:
    if len(remembered) > MAX_HELD:
        remembered.popitem(last=False)
