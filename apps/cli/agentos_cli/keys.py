"""``agentos keys``: the keys that capability tokens are signed with."""

import json
from pathlib import Path

import typer

from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import RuntimeFailure
from agentos_shared.tokens import key_file


def show(file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Raises RuntimeFailure: there is no file with keys, or it cannot be used."""
    path = _path(file, data_dir)
    if not path.exists():
        raise RuntimeFailure(f"There are no keys at {path} yet: they are made at the first start.")
    return _told(path, _read(path), as_json)


def rotate(file: Path | None, data_dir: Path | None, drop_old: bool, as_json: bool) -> int:
    """Raises RuntimeFailure: the file cannot be used."""
    path = _path(file, data_dir)
    try:
        found = key_file.rotate(path, drop_old=drop_old)
    except (key_file.UnsafeKey, OSError) as error:
        raise RuntimeFailure(str(error)) from error
    return _told(path, found, as_json)


def _path(file: Path | None, data_dir: Path | None) -> Path:
    return file or DataDir(runtime_settings.load(data_dir).data_dir).token_key


def _read(path: Path) -> list[str]:
    try:
        return key_file.publics(path)
    except (key_file.UnsafeKey, OSError) as error:
        raise RuntimeFailure(str(error)) from error


def _told(path: Path, found: list[str], as_json: bool) -> int:
    if as_json:
        typer.echo(json.dumps({"file": str(path), "signs": found[0], "taken": found}))
        return 0
    for place, public in enumerate(found):
        typer.echo(f"{public}  {'signs' if place == 0 else 'of before'}")
    return 0
