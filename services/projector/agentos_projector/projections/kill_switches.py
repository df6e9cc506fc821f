"""Kill switches as ``GET /v1/policy/kill-switch`` shows them; released ones stay as rows that say so."""

from typing import Final

from agentos_projector.projections.projection import load

KILL_SWITCHES: Final = load(
    "proj_kill_switches", "kill_switches.sql", {"changed": {"kill_switch.engaged", "kill_switch.released"}}
)
