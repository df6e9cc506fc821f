"""The UI's types are those of the API that is served."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.fixtures.stack import Stack

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_web_types.py"


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_web_types", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_types_of_the_ui_are_up_to_date(stack: Stack, generator: ModuleType) -> None:
    if shutil.which("node") is None or not generator.GENERATOR.exists():
        pytest.skip(
            "the types are written by a program for Node, which this machine lacks (or `make web` has not installed it "
            "yet): without it nobody can have written other types either"
        )
    wanted = generator.types(generator.read(f"{stack.url}/openapi.json"))
    assert generator.TARGET.read_text(encoding="utf-8") == wanted, "run `make docs`"
