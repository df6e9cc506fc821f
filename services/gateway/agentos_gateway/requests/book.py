"""What goes on record of a request, by commands to the API that are given until somebody answers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from agentos_gateway.bus import GatewayBus, Unanswered
from agentos_gateway.requests.contents import Leak, injection
from agentos_gateway.vault.inject import Secret
from agentos_shared.host.lifecycle import Backoff, Clock, Rng

log = structlog.get_logger("agentos.gateway")

#: How often an announcement is made that nobody answers; whoever waits is then told to come again.
TRIES: Final = 3
#: Waits between them; what is waited for is a service that starts again.
FIRST_RETRY_S: Final = 0.2
MOST_RETRY_S: Final = 2.0


class Book:
    """The gateway's hand on the record."""

    def __init__(self, bus: GatewayBus, clock: Clock, rng: Rng) -> None:
        self._bus = bus
        self._clock = clock
        self._rng = rng

    async def command(self, verb: str, workspace_id: str, request_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """``egress.<verb>`` of a request. Raises Unanswered: several times nobody said what became of it."""
        command = {"workspace_id": workspace_id, "egress_request_id": request_id, **body}
        return await self._persistently(lambda: self._bus.command("egress", verb, command))

    async def asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """``egress.proxy``, given once: without a key another try would be another request. Raises Unanswered."""
        return await self._bus.command("egress", "proxy", body)

    async def leaked(
        self, workspace_id: str, request_id: str, leak: Leak, source_event_id: str, source_event_type: str
    ) -> None:
        """A secret was on its way out: people are told."""
        about = {"workspace_id": workspace_id}
        source_of = {"source_event_id": source_event_id, "source_event_type": source_event_type}
        incident = {
            "title": "A secret was about to leave the machine",
            "summary": leak.detail,
            "severity": "high",
            "category": "dlp",
            "details": {"egress_request_id": request_id, **leak.told()},
            "idempotency_key": f"incident:dlp:{request_id}",
        }
        await self._told("secret", "leak", {**about, **source_of, **leak.told()})
        await self._told("incident", "open", {**about, **incident})

    async def injected(self, workspace_id: str, request_id: str, used: Sequence[Secret]) -> None:
        """Secrets were put in."""
        for secret in used:
            await self._told("secret", "record", {"workspace_id": workspace_id, **injection(secret, request_id)})

    async def _told(self, noun: str, verb: str, body: Mapping[str, Any]) -> None:
        """Put on record what goes with a request; without an answer the request goes on, and the log says so."""
        try:
            await self._persistently(lambda: self._bus.command(noun, verb, body))
        except Unanswered as error:
            log.error("not_on_record", command=f"{noun}.{verb}", error=str(error))

    async def _persistently(self, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        backoff = self.backoff()
        for _ in range(TRIES - 1):
            try:
                answer = await ask()
            except Unanswered:
                await self._clock.sleep(backoff.next_s())
                continue
            if answer["status"] != 503:
                return answer
            await self._clock.sleep(backoff.next_s())
        return await ask()

    def backoff(self) -> Backoff:
        """Waits between tries of one command."""
        return Backoff(FIRST_RETRY_S, MOST_RETRY_S, rng=self._rng)
