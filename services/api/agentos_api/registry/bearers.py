"""Capability tokens as credentials: opened once, and held against the registry at every use."""

import hashlib
from collections import OrderedDict
from typing import Final

from agentos_api.registry.registry import Registry
from agentos_shared.domain.capability_checks import VerifiedCapability
from agentos_shared.domain.errors import Forbidden, Unauthorized
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, Clock
from agentos_shared.tokens.biscuits import Opened, TokenInvalid
from agentos_shared.tokens.key_file import KeyRing

SECONDS: Final = metrics.histogram("capability_token_open_seconds", "Checking the signatures of a capability token.")
REFUSED: Final = metrics.counter("capability_tokens_refused", "Capability tokens that were refused.", ("code",))
MAX_HELD: Final = 10_000


class Bearers:
    """Checks capability tokens for this process.

    Args:
        key: None: none are issued here, and so none are taken.
    """

    def __init__(self, registry: Registry, key: KeyRing | None, clock: Clock = CLOCK) -> None:
        self._registry = registry
        self._key = key
        self._clock = clock
        self._opened: OrderedDict[bytes, Opened] = OrderedDict()
        self._turn = 0

    async def identify(self, workspace_id: str, text: str) -> VerifiedCapability:
        """What a token allows whoever brings it.

        Raises:
            Unauthorized: ``invalid_token``, ``token_block_not_understood``, ``token_block_wider``,
                ``delegation_depth_exceeded``, or as :meth:`Registry.capability`.
            Forbidden: ``capability_workspace_mismatch``, or as :meth:`Registry.capability`.
            TryLater: ``store_unavailable``.
        """
        try:
            opened = self._open(text)
            if opened.granted.workspace_id != workspace_id:
                raise Forbidden("capability_workspace_mismatch", "This token is of another workspace: x-workspace-id.")
            return await self._registry.capability(opened)
        except (Unauthorized, Forbidden) as refused:
            REFUSED.labels(refused.code).inc()
            raise

    async def recheck(self, verified: VerifiedCapability) -> None:
        """Raises as :meth:`identify` when a token that was good some time ago is no longer."""
        await self._registry.recheck_capability(verified)

    def _open(self, text: str) -> Opened:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()  # tokens are not kept as such
        if self._key is not None:
            self._key.look_now_and_then()
            if self._key.turn != self._turn:  # what another key signed may be good no longer
                self._opened.clear()
                self._turn = self._key.turn
        opened = self._opened.get(digest)
        if opened is None:
            if self._key is None:
                raise Unauthorized("invalid_token", "Capability tokens are not issued here, and not taken.")
            started = self._clock.monotonic()
            try:
                opened = self._opened[digest] = self._key.open(text)
            except TokenInvalid as error:
                raise Unauthorized(error.code, error.detail) from None
            SECONDS.observe(self._clock.monotonic() - started)
            if len(self._opened) > MAX_HELD:
                self._opened.popitem(last=False)
        return opened
