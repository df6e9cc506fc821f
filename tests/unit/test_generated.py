"""What is generated from the code is what the code says now: else run `make docs`."""

import re
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("generator", ["docs/generate_events.py", "deploy/compose/render_nats_conf.py"])
def test_generated_file_is_up_to_date(generator: str) -> None:
    module = run_path(str(ROOT / generator))
    assert module["TARGET"].read_text(encoding="utf-8") == module["text"](), "run `make docs`"


def _pins(lock: Path) -> set[str]:
    return {line.split()[0] for line in lock.read_text(encoding="ascii").splitlines() if "==" in line.partition(";")[0]}


@pytest.mark.parametrize("lock", ["requirements-image.lock", "requirements-build.lock"])
def test_image_gets_the_versions_that_are_tested(lock: str) -> None:
    assert _pins(ROOT / "deploy" / lock) <= _pins(ROOT / "requirements.lock"), "run `make lock`"


def test_the_image_keeps_what_pip_has_fetched_where_no_users_home_is() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    cache = re.search(r"PIP_CACHE_DIR=(\S+)", text)
    assert cache is not None
    assert f"--mount=type=cache,target={cache[1]} " in text
    assert "/root" not in text
