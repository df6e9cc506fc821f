"""The data directory remembers its secrets, and keeps them to its owner."""

from pathlib import Path

from agentos_runtime.datadir import DataDir


def test_local_token_is_made_once_and_private(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    data.make_local_token()
    token = data.local_token.read_text()
    data.make_local_token()
    assert data.local_token.read_text() == token
    assert len(token.strip()) == 64
    assert data.local_token.stat().st_mode & 0o777 == 0o600


def test_passwords_are_made_once_and_private(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    first = data.passwords(["agentos", "nats_api"])
    assert data.passwords(["agentos", "nats_api", "nats_projector"]).items() >= first.items()
    assert (data.root / "secrets.json").stat().st_mode & 0o777 == 0o600
