"""A recorded session as a run: what its steps, tool calls and artifacts are. Import and replay say the same."""

import json
from typing import Any, Final

from agentos_cli.trajectory import Session, Turn

STEP_KIND: Final = "turn"
#: The step that hands in the patch.
LAST_STEP_KIND: Final = "submission"
TOOL: Final = "shell"
PATCH: Final = "patch"
TAG: Final = "recorded"
#: JSON bytes of one text; an event's data may have 512 KiB, and has other members too.
MAX_TEXT_BYTES: Final = 200 * 1024
MAX_STEP_TITLE: Final = 200
#: Content of an artifact; a request may have 1 MiB.
MAX_PATCH_BYTES: Final = 900 * 1024


def run_input(session: Session) -> dict[str, Any]:
    """Which recording it is."""
    return {"file": session.path.name, "sha256": session.digest, "turns": len(session.turns)}


def run_output(session: Session, artifact_id: str | None) -> dict[str, Any]:
    """What came of it."""
    return {"outcome": session.outcome or None, "turns": len(session.turns), "patch_artifact_id": artifact_id}


def step_title(turn: Turn) -> str:
    """The command in one line, or the thought where there was none."""
    first = next((line for line in (turn.command or turn.thought).splitlines() if line.strip()), f"turn {turn.number}")
    return first.strip()[:MAX_STEP_TITLE]


def step_input(turn: Turn) -> dict[str, Any]:
    """What the agent thought."""
    return {"turn": turn.number, "thought": shortened(turn.thought)}


def calls_tool(turn: Turn) -> bool:
    """A turn may be nothing but a thought."""
    return bool(turn.command or turn.observation)


def tool_input(turn: Turn) -> dict[str, Any]:
    """What it asked for."""
    return {"command": shortened(turn.command)}


def tool_output(turn: Turn) -> dict[str, Any]:
    """What it got."""
    return {"observation": shortened(turn.observation), "duration_s": turn.duration_s}


def patch_of(session: Session) -> dict[str, Any] | None:
    """The content of the artifact, or None where nothing was handed in."""
    return {"type": "text", "text": shortened(session.patch, MAX_PATCH_BYTES)} if session.patch else None


def shortened(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """A text that fits; one that does not is cut and says so. The messages of the import have it whole."""
    if len(json.dumps(text, ensure_ascii=False).encode()) <= limit:
        return text
    kept = text.encode()[: limit // 6].decode("utf-8", "ignore")  # JSON makes one byte into six at most
    return f"{kept}\n[cut: {len(text) - len(kept)} of {len(text)} characters are left out]"
