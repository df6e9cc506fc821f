"""Sending: HTTP/1.1 to pinned addresses, with bounds on time, size and trust; redirects as questions; tunnels."""

from agentos_gateway.send.failures import Phase, RequestRefused, SendFailed
from agentos_gateway.send.outbound import Outbound, Ready
from agentos_gateway.send.pool import Bounds
from agentos_gateway.send.request import DECODABLE, Limits, OutboundRequest, Timeouts
from agentos_gateway.send.response import Body, Response
from agentos_gateway.send.tls import client_context

__all__ = [
    "DECODABLE",
    "Body",
    "Bounds",
    "Limits",
    "Outbound",
    "OutboundRequest",
    "Phase",
    "Ready",
    "RequestRefused",
    "Response",
    "SendFailed",
    "Timeouts",
    "client_context",
]
