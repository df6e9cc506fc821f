"""Recorded agent sessions in SWE-agent's ``.traj`` format, as what was said and done in them.

Reads files and nothing else. A file is JSON with ``trajectory`` (a list of turns with ``thought``, ``action`` and
``observation``), or with only ``history`` (the chat messages), from which the turns are told by their roles.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

from agentos_runtime.errors import RuntimeFailure, UsageError

Label = Literal["thought", "action", "observation"]

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
MAX_TITLE: Final = 500
MAX_DURATION_S: Final = 10**9
MAX_SENDER: Final = 200
#: Outcomes that are no failure; a file may tell none.
GOOD_OUTCOMES: Final = frozenset({"", "submitted"})
#: Who speaks where the file does not say.
AGENT: Final = "swe-agent"
ENVIRONMENT: Final = "environment"

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_FIELDS: Final[tuple[Label, ...]] = ("thought", "action", "observation")


class BadTrajectory(RuntimeFailure):
    """A file that cannot be imported; the message names the file, and the turn and the field where it can."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One text of a session, to the byte. ``turn`` counts from 1."""

    turn: int
    label: Label
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One round of a session: what the agent thought, the command it gave, and what came back.

    Args:
        number: from 1.
        duration_s: how long the command took, where the file tells.
    """

    number: int
    thought: str
    command: str
    observation: str
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """One recorded session.

    Args:
        digest: SHA-256 of the file, hexadecimal.
        title: what the file tells of itself, in one line.
        agent: who thought and acted.
        environment: what answered.
        utterances: in order; none is empty.
        empty: how many texts were empty, and so are no utterances.
        turns: the same, round by round.
        outcome: the file's word for it, such as ``submitted``; empty where it tells none.
        patch: what the session handed in; empty where there is nothing.
    """

    path: Path
    digest: str
    title: str
    agent: str
    environment: str
    utterances: tuple[Utterance, ...]
    empty: int
    turns: tuple[Turn, ...]
    outcome: str
    patch: str

    @property
    def failed(self) -> bool:
        """Whether the file says that the session came to a bad end."""
        return self.outcome not in GOOD_OUTCOMES


def read_session(path: Path) -> Session:
    """Read one file.

    Raises:
        UsageError: it cannot be read at all.
        BadTrajectory: it is no trajectory, or holds text that no event can carry (NUL, a lone surrogate).
    """
    raw = _bytes_of(path)
    document = _json_of(path, raw)
    if not isinstance(document, dict):
        raise BadTrajectory(f"{path}: is not a JSON object, so it is no trajectory.")
    history = _list_of(path, document, "history")
    durations: dict[int, float] = {}
    if "trajectory" in document:
        rounds = _list_of(path, document, "trajectory")
        texts = list(_of_turns(path, rounds))
        durations = _durations(rounds)
    elif "history" in document:
        texts = list(_of_history(path, history))
    else:
        raise BadTrajectory(f"{path}: has neither `trajectory` nor `history`.")
    environment = _known_text(path, "environment", document.get("environment"))
    found = document.get("info")
    info = found if isinstance(found, dict) else {}
    outcome = _known_text(path, "info.exit_status", info.get("exit_status"))
    patch = info.get("submission")
    about = ", ".join(part for part in (environment, outcome) if part)
    agents = (entry.get("agent") for entry in history if isinstance(entry, dict))
    agent = next((_known_text(path, "history.agent", name) for name in agents if name), "")
    return Session(
        path=path,
        digest=hashlib.sha256(raw).hexdigest(),
        title=(f"{path.stem} ({about})" if about else path.stem)[:MAX_TITLE],
        agent=(agent or AGENT)[:MAX_SENDER],
        environment=(environment or ENVIRONMENT)[:MAX_SENDER],
        utterances=tuple(text for text in texts if text.text),
        empty=sum(not text.text for text in texts),
        turns=tuple(_turns(texts, durations)),
        outcome=outcome,
        patch=_storable(path, "info.submission", patch) if isinstance(patch, str) else "",
    )


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: is larger than {MAX_FILE_BYTES // 1024**2} MiB; split it first.")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error


def _json_of(path: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadTrajectory(f"{path}: is not UTF-8 (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise BadTrajectory(f"{path}: is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from error
    except (RecursionError, ValueError) as error:
        raise BadTrajectory(f"{path}: is not JSON that can be read: {error}.") from error


def _list_of(path: Path, document: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = document.get(name, [])
    if not isinstance(found, list):
        raise BadTrajectory(f"{path}: `{name}` is not a list.")
    return found


def _of_turns(path: Path, turns: Sequence[Any]) -> Iterator[Utterance]:
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict):
            raise BadTrajectory(f"{path}: turn {number} is not an object.")
        for field in _FIELDS:
            yield Utterance(number, field, _text(path, number, field, turn.get(field)))


def _of_history(path: Path, history: Sequence[Any]) -> Iterator[Utterance]:
    """Turns start with what the assistant says; prompts before the first one are no turn."""
    turn = 0
    for place, entry in enumerate(history, 1):
        if not isinstance(entry, dict):
            raise BadTrajectory(f"{path}: history entry {place} is not an object.")
        if entry.get("role") == "assistant":
            turn += 1
            thought = entry["thought"] if "thought" in entry else entry.get("content")
            yield Utterance(turn, "thought", _text(path, turn, "thought", thought))
            yield Utterance(turn, "action", _text(path, turn, "action", entry.get("action")))
        elif turn and entry.get("role") != "system":
            yield Utterance(turn, "observation", _text(path, turn, "observation", entry.get("content")))


def _durations(rounds: Sequence[Any]) -> dict[int, float]:
    """Seconds by turn, where the file has a sensible number."""
    told = ((number, entry.get("execution_time")) for number, entry in enumerate(rounds, 1))
    return {
        number: round(float(seconds), 6)
        for number, seconds in told
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < MAX_DURATION_S
    }


def _turns(texts: Sequence[Utterance], durations: Mapping[int, float]) -> Iterator[Turn]:
    """Rounds in which anything was said."""
    for number, said in groupby(texts, key=lambda utterance: utterance.turn):
        parts: dict[Label, str] = {}
        for utterance in said:
            # A history may tell of several observations before the agent speaks again.
            parts[utterance.label] = "\n".join(part for part in (parts.get(utterance.label), utterance.text) if part)
        if any(parts.values()):
            thought, command, observation = (parts.get(label, "") for label in _FIELDS)
            yield Turn(number, thought, command, observation, durations.get(number))


def _text(path: Path, turn: int, field: str, value: Any) -> str:
    """A text that an event can carry; null is the empty one, and blocks of text are one text."""
    if isinstance(value, list) and all(isinstance(block, dict) and block.get("type") == "text" for block in value):
        value = "".join(str(block.get("text", "")) for block in value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadTrajectory(f"{path}: turn {turn}, {field}: is not text.")
    return _storable(path, f"turn {turn}, {field}", value)


def _known_text(path: Path, field: str, value: Any) -> str:
    """Text about the session on one line, or the empty one."""
    if not isinstance(value, str):
        return ""
    return " ".join(_storable(path, field, value).split())


def _storable(path: Path, where: str, value: str) -> str:
    fault = _fault(value)
    if fault:
        raise BadTrajectory(f"{path}: {where}: {fault}")
    return value


def _fault(text: str) -> str | None:
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    if found[0] == "\x00":
        return f"character {found.start()} is NUL, which no event can carry."
    return f"character {found.start()} is half of a surrogate pair (U+{ord(found[0]):04X}), which is no text."
