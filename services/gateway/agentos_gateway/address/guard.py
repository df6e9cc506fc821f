"""The address guard: a target becomes addresses that may be connected to, or nothing.

Invariants:

- The addresses in a :class:`Pinned` are those that were judged, and the connection goes to one of them: nothing looks
  the name up again. A name that changes its answer in between changes nothing.
- Every address of a name must be allowed. A name with one public and one private address is refused, since which of
  them a client takes is chance.
- Each redirect and each request on a kept connection is judged anew.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from agentos_gateway.address.openings import Opening
from agentos_gateway.address.resolve import MAX_ADDRESSES, ResolveFailed, Resolver
from agentos_gateway.address.table import Classified, classify, public_behind_nat64
from agentos_gateway.address.url import Target
from agentos_shared.host.lifecycle import CLOCK, Clock

DNS_TIMEOUT_S: Final = 5.0


class AddressDenied(Exception):
    """A target that leads where nothing may go. ``code`` is the reason code that is recorded.

    Attributes:
        address: the first that is refused.
        kind: what it is, as in :mod:`agentos_gateway.address.table`.
    """

    code: Final = "egress.ip_denied"

    def __init__(self, target: Target, address: str, kind: str) -> None:
        self.address = address
        self.kind = kind
        self.detail = (
            f"{target.bracketed} leads to {address}, which is {kind}; a rule can open "
            f"{target.bracketed}:{target.port} explicitly where the address is loopback or private"
        )
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A target with the addresses that were judged, the only ones that may be connected to.

    Attributes:
        addresses: at least one, in the order to try them.
        opened: an opening was needed.
        dns_ms: what the lookup took; 0 for addresses.
    """

    target: Target
    addresses: tuple[str, ...]
    opened: bool
    dns_ms: float


class Guard:
    """Judges addresses.

    Args:
        resolver: where addresses come from.
        closed: networks that are refused beside the tables, such as the public address of this very machine.
        nat64: the network reaches IPv4 through the well-known NAT64 prefix only; its public addresses are then allowed.
        timeout_s: for a lookup.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        closed: Sequence[IPv4Network | IPv6Network] = (),
        nat64: bool = False,
        timeout_s: float = DNS_TIMEOUT_S,
        clock: Clock = CLOCK,
    ) -> None:
        self._resolver = resolver
        self._closed = tuple(closed)
        self._nat64 = nat64
        self._timeout_s = timeout_s
        self._clock = clock

    async def resolve(self, target: Target, openings: Sequence[Opening] = ()) -> Pinned:
        """The addresses of a target, all of them allowed.

        Raises:
            AddressDenied: one of them is not.
            ResolveFailed: there are none in time.
        """
        if target.is_ip:
            return self.judge(target, (target.host,), openings, 0.0)
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._resolver.addresses(target.host)
        except TimeoutError as error:
            raise ResolveFailed("dns_timeout", f"no answer for the host name in {self._timeout_s:g} s") from error
        return self.judge(target, found, openings, (self._clock.monotonic() - begun) * 1000)

    def judge(
        self, target: Target, addresses: Sequence[str], openings: Sequence[Opening] = (), dns_ms: float = 0.0
    ) -> Pinned:
        """The same for addresses that are known already, such as a kept connection's.

        Raises:
            AddressDenied, ResolveFailed: as :meth:`resolve`.
        """
        if not addresses:
            raise ResolveFailed("dns_not_found", "the host name has no address")
        if len(addresses) > MAX_ADDRESSES:
            raise ResolveFailed("dns_too_many", f"the host name has more than {MAX_ADDRESSES} addresses")
        opened = False
        judged: list[str] = []
        for text in addresses:
            try:
                found = classify(text)
            except ValueError as error:
                raise AddressDenied(target, text, "not an address") from error
            if not self._allowed(found):
                if not any(opening.opens(target, found.address) for opening in openings):
                    raise AddressDenied(target, found.address, found.kind)
                opened = True
            judged.append(found.address)
        return Pinned(target, tuple(judged), opened, dns_ms)

    def _allowed(self, found: Classified) -> bool:
        if not found.public and not (self._nat64 and public_behind_nat64(found.address)):
            return False
        if not self._closed:
            return True
        address = ip_address(found.address)
        return not any(address.version == net.version and address in net for net in self._closed)
