"""The engine service: ``python -m agentos_engine``."""

import sys

from agentos_shared.host import logging as logs
from agentos_shared.host import telemetry
from agentos_shared.host.lifecycle import CLOCK, RNG, Shutdown, run_service
from agentos_shared.host.settings import load


async def serve(shutdown: Shutdown) -> None:
    """Read the settings, then hand out runs until asked to stop."""
    from agentos_engine.service import NAME, Engine
    from agentos_engine.settings import EngineSettings

    settings = load(EngineSettings)
    logs.configure(NAME, settings)
    telemetry.start(NAME)
    await Engine(settings, CLOCK, RNG).run(shutdown)


def main() -> None:
    """Entry point; the process ends with the service's exit code."""
    sys.exit(run_service("engine", serve))


if __name__ == "__main__":
    main()
