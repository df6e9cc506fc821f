"""``agentos keys``: the keys of capability tokens, listed and rotated."""

import json
from pathlib import Path

from tests.fixtures.stack import agentos


def test_keys_are_listed_and_rotated(tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "capability-key"), "--json")
    absent = agentos("keys", "list", *file)
    assert absent.returncode == 1
    assert "first start" in absent.stderr
    first, second = (json.loads(agentos("keys", "rotate", *file).stdout) for _ in range(2))
    assert second["taken"] == [second["signs"], first["signs"]]
    assert json.loads(agentos("keys", "list", *file).stdout) == second
    last = json.loads(agentos("keys", "rotate", "--drop-old", *file).stdout)
    assert last["taken"] == [last["signs"]]
    (tmp_path / "capability-key").chmod(0o644)
    assert "chmod 600" in agentos("keys", "list", *file).stderr
