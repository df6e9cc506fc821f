"""The projector service: ``python -m agentos_projector``."""

import sys

from agentos_shared.host import logging as logs
from agentos_shared.host import telemetry
from agentos_shared.host.lifecycle import CLOCK, RNG, Shutdown, run_service
from agentos_shared.host.settings import load


async def serve(shutdown: Shutdown) -> None:
    """Read the settings, then project until asked to stop."""
    from agentos_projector.runner import NAME, Projector
    from agentos_projector.settings import ProjectorSettings

    settings = load(ProjectorSettings)
    logs.configure(NAME, settings)
    telemetry.start(NAME)
    await Projector(settings, CLOCK, RNG).run(shutdown)


def main() -> None:
    """Entry point; the process ends with the service's exit code."""
    sys.exit(run_service("projector", serve))


if __name__ == "__main__":
    main()
