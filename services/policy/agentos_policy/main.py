"""The policy service: ``python -m agentos_policy``."""

import sys

from agentos_shared.host import logging as logs
from agentos_shared.host import telemetry
from agentos_shared.host.lifecycle import CLOCK, RNG, Shutdown, run_service
from agentos_shared.host.settings import load


async def serve(shutdown: Shutdown) -> None:
    """Read the settings, then decide until asked to stop."""
    from agentos_policy.service import NAME, Policy
    from agentos_policy.settings import PolicySettings

    settings = load(PolicySettings)
    logs.configure(NAME, settings)
    telemetry.start(NAME)
    await Policy(settings, CLOCK, RNG).run(shutdown)


def main() -> None:
    """Entry point; the process ends with the service's exit code."""
    sys.exit(run_service("policy", serve))


if __name__ == "__main__":
    main()
