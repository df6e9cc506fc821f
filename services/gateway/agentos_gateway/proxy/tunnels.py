"""CONNECT: a tunnel to a host and a port. What is in it is not seen, so that the gate holds where it leads, no more."""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from agentos_gateway.address import BadTarget, Guard, Opening, Pinned, Target, parse_authority
from agentos_gateway.proxy.callers import Named
from agentos_gateway.proxy.head import Head
from agentos_gateway.proxy.held import HeldOpen
from agentos_gateway.proxy.passage import Gate, Passage, Wanted
from agentos_gateway.proxy.refusals import plain
from agentos_gateway.send.tunnel import End, Tunnel, adopt, reach
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import Clock

CONNECT_S: Final = 10.0
IDLE_S: Final = 600.0
_OPEN: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Tunnels:
    """Opens tunnels."""

    def __init__(self, gate: Gate, guard: Guard, held: HeldOpen, clock: Clock) -> None:
        self._gate = gate
        self._guard = guard
        self._held = held
        self._clock = clock

    async def serve(self, head: Head, named: Named, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the tunnel has ended.

        Raises:
            Refusal: there is none; nothing was answered yet.
        """
        try:
            target = parse_authority(head.target)
        except BadTarget as error:
            raise plain(400, error.code, f"{error.detail}.") from error
        if head.framing is not None:
            raise plain(400, "bad_framing", "CONNECT has no body.")
        async with self._gate.passing(Wanted(named, head.method, target)) as passage:
            pinned, upstream = await self._gate.connected(passage, lambda openings: self._reached(target, openings))
            try:
                await self._gate.announce(passage, pinned)
            except BaseException:
                if upstream.transport is not None:
                    upstream.transport.abort()
                raise
            writer.write(_OPEN)
            await self._joined(passage, pinned, upstream, reader, writer)

    async def _reached(self, target: Target, openings: Sequence[Opening]) -> tuple[Pinned, End]:
        pinned = await self._guard.resolve(target, openings)
        return pinned, await reach(pinned, connect_s=CONNECT_S)

    async def _joined(
        self,
        passage: Passage,
        pinned: Pinned,
        upstream: End,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        begun = self._clock.monotonic()
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()
        reader.feed_eof()  # what came early is all that the reader has
        client = adopt(transport, await reader.read())
        most_up, most_down = passage.bound("request_bytes"), passage.bound("response_bytes")
        reasons: list[str] = []

        def on_bytes(up: int, down: int) -> None:
            if (most_up is not None and up > most_up) or (most_down is not None and down > most_down):
                tunnel.finish("limit")

        def cut(reason_code: str) -> None:
            reasons.append(reason_code)
            tunnel.cut()

        tunnel = Tunnel(client, upstream, idle_s=IDLE_S, on_bytes=on_bytes)
        with self._held.hold(passage.wish, None, by_approval=passage.by_approval, cut=cut):
            outcome = await tunnel.run()
        failpoint("proxy.after_tunnel")
        known = outcome.ending in ("closed", "idle", "limit") or (outcome.ending == "reset" and outcome.down > 0)
        told = {
            "ending": outcome.ending,
            "bytes_out": outcome.up,
            "bytes_in": outcome.down,
            "address": pinned.addresses[0],
            "dns_ms": round(pinned.dns_ms, 1),
            "total_ms": round((self._clock.monotonic() - begun) * 1000, 1),
            "content": {"type": "none"},
        }
        if reasons:
            told |= {"error_code": "cut", "reason_code": reasons[0]}
        await self._gate.ended(passage, "succeeded" if known else "outcome_unknown", told)
