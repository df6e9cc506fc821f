"""Workers: programs that claim runs, work on them under a lease, and report what came of it."""

from agentos.worker.worker import Worker

__all__ = ["Worker"]
