"""Named places where a test may make a process die or fail. Inert unless ``AGENTOS_FAILPOINTS`` names them.

``AGENTOS_FAILPOINTS=projector.before_commit=exit:3,projector.after_commit=raise``: at its third passing the first place
ends the process as ``kill -9`` would (exit code 137, nothing flushed, nothing closed); the second raises each time.
``AGENTOS_FAILPOINTS=@FILE`` reads the same from a file, once, when the process starts: so a test arms one start of a
process that a supervisor restarts, and disarms the next by removing the file. Never set it where data matters.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentos_shared.host.settings import failpoints_environment


class FailpointHit(RuntimeError):
    """Raised at a place that was asked to fail."""


@dataclass(slots=True)
class _Armed:
    action: str
    passings_left: int


def _parse(text: str) -> dict[str, _Armed]:
    if text.startswith("@"):
        file = Path(text[1:])
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    armed: dict[str, _Armed] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, action = part.partition("=")
        action, _, nth = (action or "exit").partition(":")
        armed[name] = _Armed(action, int(nth or 1))
    return armed


_ARMED: Final = _parse(failpoints_environment())


def failpoint(name: str) -> None:
    """A place that a test may name.

    Raises:
        FailpointHit: the environment asked for it.
    """
    if not _ARMED:
        return
    armed = _ARMED.get(name)
    if armed is None:
        return
    armed.passings_left -= 1
    if armed.passings_left > 0:
        return
    if armed.action == "exit":
        os._exit(137)
    raise FailpointHit(name)
