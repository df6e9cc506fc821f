"""Threads as ``GET /v1/rooms/{id}/threads`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

THREADS: Final = load("proj_threads", "threads.sql", {"created": {"thread.created"}})
