"""The gateway service: ``python -m agentos_gateway``."""

import sys

from agentos_shared.host import logging as logs
from agentos_shared.host import telemetry
from agentos_shared.host.lifecycle import CLOCK, RNG, Shutdown, run_service
from agentos_shared.host.settings import load


async def serve(shutdown: Shutdown) -> None:
    """Read the settings, then let out what is allowed until asked to stop."""
    from agentos_gateway.service import NAME, Gateway
    from agentos_gateway.settings import GatewaySettings

    settings = load(GatewaySettings)
    logs.configure(NAME, settings)
    telemetry.start(NAME)
    await Gateway(settings, CLOCK, RNG).run(shutdown)


def main() -> None:
    """Entry point; the process ends with the service's exit code."""
    sys.exit(run_service("gateway", serve))


if __name__ == "__main__":
    main()
