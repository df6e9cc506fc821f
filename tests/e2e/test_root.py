"""As root: Postgres must run without being root, whether or not the kernel allows user namespaces."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures.stack import CLI

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="about root on Linux")

FORBIDDEN = [sys.executable, str(Path(__file__).parents[1] / "fixtures" / "without_user_namespaces.py")]


@pytest.fixture
def closed_dir() -> Iterator[Path]:
    """Below a directory that only root may enter."""
    with tempfile.TemporaryDirectory(prefix="agentos-closed-") as closed:
        yield Path(closed) / "data dir"


def run(prefix: list[str], data_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*prefix, *CLI, *arguments, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90)


def test_with_and_without_user_namespaces_on_one_data_directory(closed_dir: Path) -> None:
    if run(FORBIDDEN, closed_dir, "status").returncode == 77:
        pytest.skip("this machine allows no user namespace at all, so that none can be made to forbid them in")
    for prefix in (FORBIDDEN, [], FORBIDDEN):
        try:
            done = run(prefix, closed_dir, "up", "--detach", "--port", "0")
            assert done.returncode == 0, done.stderr
            status = json.loads(run(prefix, closed_dir, "status", "--json").stdout)
            assert status["phase"] == "healthy"
            server = psutil.Process(status["components"]["postgres"]["pid"])
            if prefix:
                assert server.uids().real != 0
            assert (closed_dir / "postgres").stat().st_uid == server.uids().real
        finally:
            assert run(prefix, closed_dir, "down").returncode == 0
