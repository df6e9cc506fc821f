"""Rooms as ``GET /v1/rooms`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

ROOMS: Final = load("proj_rooms", "rooms.sql", {"created": {"room.created"}})
