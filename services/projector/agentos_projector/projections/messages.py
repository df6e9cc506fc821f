"""Messages as ``GET /v1/threads/{id}/messages`` and ``GET /v1/search`` list them."""

from typing import Final

from agentos_projector.projections.projection import load

MESSAGES: Final = load("proj_messages", "messages.sql", {"created": {"message.created"}})
