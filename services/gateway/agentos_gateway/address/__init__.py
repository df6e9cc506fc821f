"""Where a request may go: the parser of URLs, the tables of addresses, the resolver, the guard, pinned connections."""

from agentos_gateway.address.dial import ConnectFailed, dial
from agentos_gateway.address.guard import AddressDenied, Guard, Pinned
from agentos_gateway.address.openings import BadOpening, Opening, parse_opening
from agentos_gateway.address.resolve import RememberingResolver, ResolveFailed, Resolver, SystemResolver
from agentos_gateway.address.table import Classified, classify
from agentos_gateway.address.url import BadTarget, Target, parse, parse_authority

__all__ = [
    "AddressDenied",
    "BadOpening",
    "BadTarget",
    "Classified",
    "ConnectFailed",
    "Guard",
    "Opening",
    "Pinned",
    "RememberingResolver",
    "ResolveFailed",
    "Resolver",
    "SystemResolver",
    "Target",
    "classify",
    "dial",
    "parse",
    "parse_authority",
    "parse_opening",
]
