"""The UI reaches who has only Python: it is in the wheel, and a build of it that is up to date needs no Node."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fixtures.browser import NO_UI

API = Path(__file__).parents[2] / "services" / "api"


def test_the_wheel_brings_the_ui_and_needs_no_node(tmp_path: Path) -> None:
    if not (API / "agentos_api" / "ui" / "index.html").exists():
        pytest.skip(NO_UI)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    environment = {"PATH": "", "AGENTOS_REQUIRE_UI": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([*command, str(API)], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("agentos_api-*.whl"))).namelist()
    assert "agentos_api/ui/index.html" in names
    assert any(name.startswith("agentos_api/ui/assets/index-") and name.endswith(".js.gz") for name in names)
    assert not any("node_modules" in name for name in names)
