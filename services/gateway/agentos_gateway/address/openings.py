"""Explicit openings: the only way to an address that is not public.

An opening names the host as the URL writes it, one port, and the networks that the name may lead to. So a foreign name
that resolves to 127.0.0.1 gains nothing from an opening for ``127.0.0.1:8080``, and a name that is opened for
10.0.0.0/8 still cannot lead to a loopback port.
"""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from agentos_gateway.address.table import classify
from agentos_gateway.address.url import BadTarget, Target, parse_authority

_LOOPBACK: Final = (IPv4Network("127.0.0.1/32"), IPv6Network("::1/128"))


class BadOpening(ValueError):
    """An opening that is not one; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One host, one port, and where it may lead beside public addresses."""

    host: str
    port: int
    networks: tuple[IPv4Network | IPv6Network, ...]

    def opens(self, target: Target, address: str) -> bool:
        """Whether this target may lead to this address."""
        if target.host != self.host or target.port != self.port or not classify(address).openable:
            return False
        plain = _plain(address)
        return any(plain.version == network.version and plain in network for network in self.networks)


def parse_opening(text: str) -> Opening:
    """``127.0.0.1:8080``, ``[::1]:8080``, ``localhost:8080``, or a name with its networks: ``git.corp:443=10.0.0.0/8``.

    Raises:
        BadOpening: ill-formed, or beyond loopback, private (10/8, 172.16/12, 192.168/16, fc00::/7) and shared
            (100.64/10) addresses, which nothing opens.
    """
    authority, equals, listed = text.partition("=")
    try:
        target = parse_authority(authority.strip())
    except BadTarget as error:
        raise BadOpening(f"an opening begins with host:port ({error.detail})") from error
    if equals:
        networks = tuple(_network(part.strip()) for part in listed.split(","))
    elif target.is_ip:
        networks = (_network(target.host),)
    elif target.host == "localhost":
        networks = _LOOPBACK
    else:
        raise BadOpening("a name is opened together with its networks, such as git.corp:443=10.0.0.0/8")
    return Opening(target.host, target.port, networks)


@lru_cache(maxsize=1024)
def _plain(address: str) -> IPv4Address | IPv6Address:
    return ip_address(address)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise BadOpening(f"not a network: {error}") from error
    ends = {classify(str(network.network_address)), classify(str(network.broadcast_address))}
    if not all(end.openable for end in ends) or len({end.kind for end in ends}) != 1:
        raise BadOpening("only loopback, private and shared addresses can be opened")
    return network
