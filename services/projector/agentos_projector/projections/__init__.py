"""Every projection. A new noun is one ``.py`` and one ``.sql`` file here, and one name in this list."""

from typing import Final

from agentos_projector.projections.messages import MESSAGES
from agentos_projector.projections.projection import Projection
from agentos_projector.projections.rooms import ROOMS
from agentos_projector.projections.threads import THREADS

PROJECTIONS: Final[tuple[Projection, ...]] = (ROOMS, THREADS, MESSAGES)
