"""Every projection. A new noun is one ``.py`` and one ``.sql`` file here, and one name in this list."""

from typing import Final

from agentos_projector.projections.capabilities import CAPABILITIES
from agentos_projector.projections.engine_tokens import ENGINE_TOKENS
from agentos_projector.projections.engines import ENGINES
from agentos_projector.projections.evidence import EVIDENCE
from agentos_projector.projections.experiments import EXPERIMENTS
from agentos_projector.projections.incident_learning import INCIDENT_LEARNING
from agentos_projector.projections.incidents import INCIDENTS
from agentos_projector.projections.lessons import LESSONS
from agentos_projector.projections.messages import MESSAGES
from agentos_projector.projections.principals import PRINCIPALS
from agentos_projector.projections.projection import Projection
from agentos_projector.projections.rooms import ROOMS
from agentos_projector.projections.scorecards import SCORECARDS
from agentos_projector.projections.threads import THREADS

PROJECTIONS: Final[tuple[Projection, ...]] = (
    ROOMS,
    THREADS,
    MESSAGES,
    INCIDENTS,
    INCIDENT_LEARNING,
    EVIDENCE,
    EXPERIMENTS,
    SCORECARDS,
    LESSONS,
    PRINCIPALS,
    ENGINES,
    ENGINE_TOKENS,
    CAPABILITIES,
)
