"""``python -m agentos_engine.worker``."""

import logging
import sys

from agentos_engine.worker.program import serve
from agentos_engine.worker.settings import WorkerSettings
from agentos_shared.host import logging as logs
from agentos_shared.host.lifecycle import Shutdown, run_service
from agentos_shared.host.settings import load

NAME = "worker"


async def main(shutdown: Shutdown) -> None:
    """Work until asked to stop, or until the parent is gone."""
    settings = load(WorkerSettings)
    logs.configure(NAME, settings)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per request, otherwise
    await serve(settings, shutdown)


if __name__ == "__main__":
    sys.exit(run_service(NAME, main))
