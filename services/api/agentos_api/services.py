"""The parts of a running API, as its routes reach them."""

from dataclasses import dataclass

import asyncpg
from nats.aio.client import Client

from agentos_api.append.appender import Appender
from agentos_api.approval_deliveries import Deliveries
from agentos_api.gatekeeper import Gatekeeper
from agentos_api.live.decisions import Decisions
from agentos_api.live.hub import Hub
from agentos_api.reads.waiting import Projected
from agentos_api.relay.relay import Relay
from agentos_api.settings import ApiSettings
from agentos_shared.host.health import Health


@dataclass(frozen=True, slots=True)
class Services:
    """One of each; ``app.state.services``."""

    settings: ApiSettings
    pool: "asyncpg.Pool[asyncpg.Record]"
    nats: Client
    appender: Appender
    relay: Relay
    hub: Hub
    projected: Projected
    decisions: Decisions
    gatekeeper: Gatekeeper
    deliveries: Deliveries
    health: Health
