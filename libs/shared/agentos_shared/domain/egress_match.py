"""What an egress rule covers: hosts, methods, paths, ports, and whose requests from where.

A rule that allows covers only what is surely inside it; a rule that denies or asks covers all that may be inside it. So
what cannot be seen (a path and a method inside a tunnel) or can be read in two ways (an escaped slash) is refused
rather than let through.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from agentos_shared.domain.envelope import Zone

RuleEffect = Literal["allow", "deny", "require_approval"]
RuleMode = Literal["enforce", "shadow"]
#: Methods that only read: all that a rule allows which names none.
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: A tunnel: what goes through it cannot be seen, so it counts as every method on every path.
TUNNEL: Final = "CONNECT"
ANY_HOST: Final = "*"

_HOST: Final = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/%-]*", re.ASCII)
#: What servers read in different ways: escapes of letters, digits, dots, slashes, backslashes, percent signs and NUL;
#: empty segments and dot segments; parameters of segments.
_AMBIGUOUS: Final = re.compile(
    r"%(?:00|2[def5]|3[0-9]|[46][1-9a-f]|[57][0-9a]|5[cf]|7e)|//|\\|/\.{1,2}(?:[/;]|$)|;", re.IGNORECASE | re.ASCII
)


class RateLimit(NamedTuple):
    """So many requests in so many seconds, and so many at once.

    Args:
        per: whether each principal has this for itself, or all of the workspace together.
    """

    requests: int
    per_s: int
    burst: int
    per: Literal["principal", "workspace"] = "principal"


@dataclass(frozen=True, slots=True)
class EgressRule:
    """A rule. What it does not name it does not look at.

    Args:
        host: a name, an address, ``*.example.org`` (it and all under it), or ``*``.
        methods: None: a rule that allows means reads, any other rule means all.
        path: ``*`` stands for anything within a segment, ``**`` for anything.
        principal: the id of a principal or of an agent.
        zones: of the request.
        mode: ``shadow`` only notes what it would have done.
        private: opens this host and port although it is on this machine or in a private network.
        networks: where a name that is opened so may lead; an address or localhost leads to itself.
        request_bytes, response_bytes: at most so many in a body.
    """

    rule_id: str
    effect: RuleEffect
    host: str
    methods: tuple[str, ...] | None = None
    path: str | None = None
    port: int | None = None
    principal: str | None = None
    room_id: str | None = None
    zones: tuple[Zone, ...] | None = None
    mode: RuleMode = "enforce"
    private: bool = False
    networks: tuple[str, ...] = ()
    rate: RateLimit | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    expires_at: datetime | None = None


class Wanted(NamedTuple):
    """A request as rules look at it.

    Args:
        method: in capitals; None: not known. path: None: not known. port: None: not known.
        named: ids of the principal and the agent that ask.
    """

    host: str
    method: str | None
    port: int | None
    path: str | None
    zone: Zone
    room_id: str | None
    named: frozenset[str]


def host_fits(host: str, pattern: str) -> bool:
    """``*`` fits all; ``*.example.org`` fits example.org and what is under it; else the names must be equal."""
    host, pattern = host.lower(), pattern.lower()
    if pattern.startswith("*."):
        return host == pattern[2:] or host.endswith(pattern[1:])
    return pattern in (ANY_HOST, host)


def covers(rule: EgressRule, wanted: Wanted, now: datetime) -> bool:
    """Whether a rule is in force and about this request."""
    return (
        (rule.expires_at is None or now < rule.expires_at)
        and host_fits(wanted.host, rule.host)
        and (rule.principal is None or rule.principal in wanted.named)
        and (rule.room_id is None or rule.room_id == wanted.room_id)
        and (rule.zones is None or wanted.zone in rule.zones)
        and (rule.port is None or rule.port == wanted.port or (wanted.port is None and rule.effect != "allow"))
        and _covers_method(rule, wanted)
        and _covers_path(rule, wanted)
    )


def hidden(wanted: Wanted) -> bool:
    """Whether it cannot be seen what exactly is asked for."""
    return wanted.method in (None, TUNNEL)


def _covers_method(rule: EgressRule, wanted: Wanted) -> bool:
    if rule.effect == "allow":
        return (wanted.method or TUNNEL) in (READS if rule.methods is None else rule.methods)
    return rule.methods is None or hidden(wanted) or wanted.method in rule.methods


def _covers_path(rule: EgressRule, wanted: Wanted) -> bool:
    if rule.path is None:
        return True
    if hidden(wanted) or wanted.path is None or _AMBIGUOUS.search(wanted.path) is not None:
        return rule.effect != "allow"
    if path_fits(wanted.path, rule.path):
        return True
    return rule.effect != "allow" and path_fits(unquote(wanted.path), unquote(rule.path))


def path_fits(path: str, pattern: str) -> bool:
    """Whether a path is like a pattern: ``*`` within a segment, ``**`` over segments.

    It takes time in proportion to the product of their lengths at most.
    """
    parts = path.split("/")
    ends = {0}  # the beginnings of the path, as numbers of segments, that the pattern up to here can be like
    for wanted in pattern.split("/"):
        if wanted == "**":
            ends = set(range(min(ends), len(parts) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(parts) and _segment_fits(parts[end], wanted)}
        if not ends:
            return False
    return len(parts) in ends


def _segment_fits(segment: str, pattern: str) -> bool:
    head, *rest = pattern.split("*")
    if not rest:
        return segment == pattern
    *middle, tail = rest
    if not segment.startswith(head):
        return False
    at = len(head)
    for part in middle:
        found = segment.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return segment.endswith(tail) and len(segment) - len(tail) >= at


def host_pattern(text: str) -> str:
    """A host of a rule as it is kept: in lower case, without a dot at its end, an address in its shortest form.

    Raises:
        ValueError: it is none; the message says why.
    """
    text = text.strip().lower()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if text == ANY_HOST:
        return text
    if ":" in text or re.fullmatch(r"[0-9.]+", text, re.ASCII):
        try:
            return str(ip_address("" if "%" in text else text))
        except ValueError:
            raise ValueError("no address, and no host name; a port has a member of its own") from None
    name = text.removeprefix("*.").removesuffix(".")
    if not name.isascii():
        raise ValueError("write it as its ASCII form (xn--...)")
    if len(name) > 253 or _HOST.fullmatch(name) is None:
        raise ValueError("no host name: no scheme, no path, and * only as the first label")
    if _NUMBER.fullmatch(name.rsplit(".", 1)[-1]) is not None:
        raise ValueError("its last label is a number, which is read as an address")
    return f"*.{name}" if text.startswith("*.") else name


def path_pattern(text: str) -> str:
    """A path of a rule as it is kept.

    Raises:
        ValueError: it is none; the message says why.
    """
    if _PATH.fullmatch(text) is None:
        raise ValueError("it begins with / and has no query; other letters are written as escapes")
    if _AMBIGUOUS.search(text) is not None:
        raise ValueError("dot segments, empty segments, ; and escaped slashes or dots can be read in two ways")
    if any("**" in segment and segment != "**" for segment in text.split("/")):
        raise ValueError("** stands for whole segments: /files/**")
    return text


#: What a rule can open: this machine, private networks, and what providers share out.
_OPENABLE: Final = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "100.64.0.0/10")
)


def openable(text: str) -> str:
    """A network that a rule may open, in its usual form.

    Raises:
        ValueError: it is none; the message says why.
    """
    network = ip_network(text.strip())
    if not any(_within(network, whole) for whole in _OPENABLE):
        raise ValueError(f"{network} is neither of this machine nor private")
    return str(network)


def _within(network: IPv4Network | IPv6Network, whole: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(whole, IPv4Network) and network.subnet_of(whole)
    return isinstance(whole, IPv6Network) and network.subnet_of(whole)


def opening(rule: EgressRule) -> str:
    """What a rule opens, as ``host:port`` or ``host:port=network,...``."""
    host = f"[{rule.host}]" if ":" in rule.host else rule.host
    return f"{host}:{rule.port}" + (f"={','.join(rule.networks)}" if rule.networks else "")


class RuleBook:
    """The rules of a workspace, found by host."""

    def __init__(self, rules: Iterable[EgressRule] = ()) -> None:
        self._by_host: dict[str, list[EgressRule]] = {}
        for rule in sorted(rules, key=lambda rule: rule.rule_id):
            self._by_host.setdefault(rule.host, []).append(rule)

    def on(self, host: str | None) -> tuple[EgressRule, ...]:
        """Those that may be about a host, by their ids."""
        if host is None or not self._by_host:
            return ()
        host = host.lower()
        labels = host.split(".")
        wild = [f"*.{'.'.join(labels[place:])}" for place in range(len(labels))]
        found = [rule for pattern in (host, ANY_HOST, *wild) for rule in self._by_host.get(pattern, ())]
        return tuple(sorted(found, key=lambda rule: rule.rule_id))
