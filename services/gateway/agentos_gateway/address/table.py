"""What kind of address an address is: the tables of the IANA registries, and what hides in them.

Everything is refused unless it is known to be public: of IPv6 only 2000::/3 is given out at all. The standard library's
``is_global`` is not enough: it calls 168.63.129.16 (the metadata service of Azure) and NAT64 addresses global, whatever
IPv4 address they carry, and its tables change with the version of Python.
"""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

Kind = Literal[
    "public", "loopback", "private", "shared", "link_local", "metadata", "multicast", "broadcast", "unspecified",
    "documentation", "benchmark", "reserved", "site_local", "mapped", "nat64", "6to4", "teredo", "translated", "isatap",
]  # fmt: skip

OPENABLE: Final[frozenset[Kind]] = frozenset(["loopback", "private", "shared"])
"""What a rule may open. Nothing opens metadata services, link-local, multicast or what merely translates."""

# Before the ranges that they lie in.
_METADATA: Final = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253", "169.254.0.23", "168.63.129.16",
        "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::253", "fd00:ec2::23", "fd20:ce::254",
        "fe80::a9fe:a9fe",
    )
)  # fmt: skip

_V4: Final[tuple[tuple[str, Kind], ...]] = (
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "reserved"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "reserved"),
    ("192.52.193.0/24", "reserved"),
    ("192.88.99.0/24", "6to4"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "reserved"),
    ("198.18.0.0/15", "benchmark"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
)
_V6: Final[tuple[tuple[str, Kind], ...]] = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "mapped"),
    ("::ffff:0:0:0/96", "translated"),
    ("::/96", "mapped"),
    ("64:ff9b::/96", "nat64"),
    ("64:ff9b:1::/48", "nat64"),
    ("100::/64", "reserved"),
    ("2001::/32", "teredo"),
    ("2001:2::/48", "benchmark"),
    ("2001:db8::/32", "documentation"),
    ("2001::/23", "reserved"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "reserved"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "reserved"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
)


def _ranges(table: tuple[tuple[str, Kind], ...]) -> tuple[tuple[int, int, Kind], ...]:
    networks = [(ip_network(text), kind) for text, kind in table]
    return tuple((int(net.network_address), int(net.broadcast_address), kind) for net, kind in networks)


_V4_RANGES: Final = _ranges(_V4)
_V6_RANGES: Final = _ranges(_V6)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Classified:
    """An address and its kind.

    Attributes:
        address: in its shortest form.
        kind: of the address itself.
        carried: of the IPv4 address inside it, where there is one.
    """

    address: str
    kind: Kind
    carried: Kind | None = None

    @property
    def public(self) -> bool:
        return self.kind == "public"

    @property
    def openable(self) -> bool:
        """Whether a rule may open it."""
        return self.kind in OPENABLE and self.carried is None


@lru_cache(maxsize=4096)
def classify(text: str) -> Classified:
    """The kind of an address as the resolver or the URL gives it.

    Raises:
        ValueError: not an address, or one with a zone.
    """
    if "%" in text:
        raise ValueError("an address with a zone is of this machine only")
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return Classified(str(address), _kind_v4(address))
    return _classify_v6(address)


def public_behind_nat64(text: str) -> bool:
    """An address of the well-known NAT64 prefix that leads to a public IPv4 address."""
    found = classify(text)
    return found.kind == "nat64" and found.carried == "public" and ip_address(text) in _NAT64


def _kind_v4(address: IPv4Address) -> Kind:
    if address in _METADATA:
        return "metadata"
    return _in_ranges(int(address), _V4_RANGES) or "public"


def _in_ranges(number: int, ranges: tuple[tuple[int, int, Kind], ...]) -> Kind | None:
    for first, last, kind in ranges:
        if first <= number <= last:
            return kind
    return None


def _classify_v6(address: IPv6Address) -> Classified:
    text = address.compressed
    if address in _METADATA:
        return Classified(text, "metadata")
    number = int(address)
    kind = _in_ranges(number, _V6_RANGES)
    inner = _carried(number, kind)
    if inner is None and kind is None:
        if number >> 32 & 0xFDFF_FFFF == 0x5EFE:
            return Classified(text, "isatap", _kind_v4(IPv4Address(number & 0xFFFF_FFFF)))
        kind = "public" if address in _GLOBAL_UNICAST else "reserved"
    return Classified(text, kind or "reserved", None if inner is None else _kind_v4(inner))


def _carried(number: int, kind: Kind | None) -> IPv4Address | None:
    """The IPv4 address inside: of Teredo the client's, which is stored inverted."""
    match kind:
        case "mapped" | "translated" | "nat64":
            return IPv4Address(number & 0xFFFF_FFFF)
        case "6to4":
            return IPv4Address(number >> 80 & 0xFFFF_FFFF)
        case "teredo":
            return IPv4Address(~number & 0xFFFF_FFFF)
        case _:
            return None
