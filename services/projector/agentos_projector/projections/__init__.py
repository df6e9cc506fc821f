"""Every projection. A new noun is one ``.py`` and one ``.sql`` file here, and one name in this list."""

from typing import Final

from agentos_projector.projections.actions import ACTIONS
from agentos_projector.projections.agents import AGENTS
from agentos_projector.projections.approvals import APPROVALS
from agentos_projector.projections.artifacts import ARTIFACTS
from agentos_projector.projections.capabilities import CAPABILITIES
from agentos_projector.projections.constraints import CONSTRAINTS
from agentos_projector.projections.egress_requests import EGRESS_REQUESTS
from agentos_projector.projections.egress_rules import EGRESS_RULES
from agentos_projector.projections.engine_tokens import ENGINE_TOKENS
from agentos_projector.projections.engines import ENGINES
from agentos_projector.projections.evidence import EVIDENCE
from agentos_projector.projections.experiments import EXPERIMENTS
from agentos_projector.projections.grants import GRANTS
from agentos_projector.projections.incident_learning import INCIDENT_LEARNING
from agentos_projector.projections.incidents import INCIDENTS
from agentos_projector.projections.kill_switches import KILL_SWITCHES
from agentos_projector.projections.lessons import LESSONS
from agentos_projector.projections.messages import MESSAGES
from agentos_projector.projections.principals import PRINCIPALS
from agentos_projector.projections.projection import Projection
from agentos_projector.projections.resource_labels import RESOURCE_LABELS
from agentos_projector.projections.rooms import ROOMS
from agentos_projector.projections.run_attempts import RUN_ATTEMPTS
from agentos_projector.projections.runs import RUNS
from agentos_projector.projections.scorecards import SCORECARDS
from agentos_projector.projections.steps import STEPS
from agentos_projector.projections.threads import THREADS
from agentos_projector.projections.tool_calls import TOOL_CALLS

PROJECTIONS: Final[tuple[Projection, ...]] = (
    ROOMS,
    THREADS,
    MESSAGES,
    RUNS,
    RUN_ATTEMPTS,
    STEPS,
    TOOL_CALLS,
    ARTIFACTS,
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
    AGENTS,
    ACTIONS,
    KILL_SWITCHES,
    CONSTRAINTS,
    RESOURCE_LABELS,
    EGRESS_RULES,
    EGRESS_REQUESTS,
    APPROVALS,
    GRANTS,
)
