"""Reading recorded sessions: order and text to the byte, and clear refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentos_cli.import_trajectory import MAX_TEXT_BYTES, parts_of
from agentos_cli.trajectory import BadTrajectory, Utterance, read_session
from agentos_runtime.errors import UsageError


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def turn(**texts: Any) -> dict[str, Any]:
    return {"thought": "t", "action": "a", "observation": "o", **texts}


def test_turns_keep_their_order_and_their_bytes(tmp_path: Path) -> None:
    odd = " \r\n\ttrailing \u2028 caf\u00e9 e\u0301 \U0001f600\x01 "
    session = read_session(
        write(
            tmp_path / "s.traj",
            {
                "environment": "swe_main",
                "info": {"exit_status": "submitted"},
                "history": [{"role": "system", "agent": "primary", "content": "be good"}],
                "trajectory": [turn(thought=odd), turn(observation="\n")],
            },
        )
    )
    assert [(said.turn, said.label, said.text) for said in session.utterances] == [
        (1, "thought", odd),
        (1, "action", "a"),
        (1, "observation", "o"),
        (2, "thought", "t"),
        (2, "action", "a"),
        (2, "observation", "\n"),
    ]
    assert (session.title, session.agent, session.environment) == ("s (swe_main, submitted)", "primary", "swe_main")


def test_empty_texts_are_counted_and_left_out(tmp_path: Path) -> None:
    session = read_session(write(tmp_path / "s.traj", {"trajectory": [turn(action="", observation=None), {}]}))
    assert [said.label for said in session.utterances] == ["thought"]
    assert session.empty == 5
    assert (session.title, session.agent, session.environment) == ("s", "swe-agent", "environment")


def test_turns_are_told_from_a_history_alone(tmp_path: Path) -> None:
    history = [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "the task"},
        {"role": "assistant", "content": "both", "thought": "why", "action": "ls"},
        {"role": "tool", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "only said"},
        {"role": "user", "content": "seen"},
    ]
    session = read_session(write(tmp_path / "s.traj", {"history": history}))
    assert [(said.turn, said.label, said.text) for said in session.utterances] == [
        (1, "thought", "why"),
        (1, "action", "ls"),
        (1, "observation", "ab"),
        (2, "thought", "only said"),
        (2, "observation", "seen"),
    ]
    assert session.empty == 1


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "is not a JSON object"),
        ({}, "neither `trajectory` nor `history`"),
        ({"trajectory": {}}, "`trajectory` is not a list"),
        ({"trajectory": [turn(), "x"]}, "turn 2 is not an object"),
        ({"trajectory": [turn(), turn(action=3)]}, "turn 2, action: is not text"),
        ({"trajectory": [turn(thought="ab\x00")]}, "turn 1, thought: character 2 is NUL"),
        ({"trajectory": [turn(observation="\ud83d")]}, "turn 1, observation: character 0 is half of a surrogate pair"),
        ({"trajectory": [], "environment": "\x00"}, "environment: character 0 is NUL"),
        ({"history": [{"role": "assistant", "content": "\udc00"}]}, "turn 1, thought: character 0 is half"),
    ],
)
def test_a_bad_file_is_named_with_turn_and_field(tmp_path: Path, document: Any, named: str) -> None:
    path = write(tmp_path / "bad.traj", document)
    with pytest.raises(BadTrajectory) as refused:
        read_session(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"{", "is not JSON"),
        (b'{"trajectory": [\xff]}', "is not UTF-8 (byte 16)"),
        (b"[" * 100_000, "is not JSON that can be read"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, raw: bytes, named: str) -> None:
    path = tmp_path / "bad.traj"
    path.write_bytes(raw)
    with pytest.raises(BadTrajectory, match=r"bad\.traj") as refused:
        read_session(path)
    assert named in str(refused.value)


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_session(tmp_path / "none.traj")


@pytest.mark.parametrize("text", ["x" * 2_000_000, "\x01\u00e9" * 400_000, "\U0001f600" * 300_000])
def test_a_text_too_long_for_an_event_is_split_without_loss(text: str) -> None:
    parts = parts_of(Utterance(1, "observation", text))
    assert len(parts) > 1
    assert "".join(part.text for part in parts) == text
    assert [(part.part, part.parts) for part in parts] == [(n, len(parts)) for n in range(1, len(parts) + 1)]
    assert all(len(json.dumps(part.text, ensure_ascii=False).encode()) <= MAX_TEXT_BYTES for part in parts)


def test_a_text_that_fits_stays_whole() -> None:
    text = "y" * (MAX_TEXT_BYTES - 2)
    assert [part.text for part in parts_of(Utterance(1, "thought", text))] == [text]
