"""The one strict parser of URLs that leave this machine: it stands in the shared library, since what is decided on
(the API) and what is connected to (here) must be one reading of the text.
"""

from agentos_shared.domain.targets import (
    DEFAULT_PORTS,
    MAX_HOST,
    MAX_URL,
    REFUSED_PORTS,
    BadTarget,
    Target,
    parse,
    parse_authority,
)

__all__ = ["DEFAULT_PORTS", "MAX_HOST", "MAX_URL", "REFUSED_PORTS", "BadTarget", "Target", "parse", "parse_authority"]
