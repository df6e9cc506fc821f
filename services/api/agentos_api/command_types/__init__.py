"""Every command of the API, in one visible list: over HTTP, in bulk and on NATS, or of services alone (internal)."""

from typing import Final

from agentos_api.command_types.access import ACCESS
from agentos_api.command_types.agents import AGENTS
from agentos_api.command_types.control import CONTROL
from agentos_api.command_types.conversation import CONVERSATION
from agentos_api.command_types.data_access import DATA_ACCESS
from agentos_api.command_types.egress import EGRESS
from agentos_api.command_types.egress_rules import EGRESS_RULES
from agentos_api.command_types.engines import ENGINES
from agentos_api.command_types.growth import GROWTH
from agentos_api.command_types.policy import POLICY
from agentos_api.command_types.secrets import SECRETS
from agentos_api.command_types.work import WORK

COMMAND_TYPES: Final = (
    *CONVERSATION,
    *WORK,
    *GROWTH,
    *ENGINES,
    *AGENTS,
    *CONTROL,
    *POLICY,
    *DATA_ACCESS,
    *ACCESS,
    *EGRESS_RULES,
    *EGRESS,
    *SECRETS,
)
