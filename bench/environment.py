"""The baselines' own virtualenv, so that ours holds nothing that only they need."""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.bench import Bench, Unmeasured
from bench.children import ROOT, Failed, run

REQUIREMENTS: Final = ROOT / "bench" / "requirements.txt"
DIRECTORY: Final = ROOT / "bench" / ".venv"
INSTALL_TIMEOUT_S: Final = 300


@contextmanager
def environment_of_the_baselines(bench: Bench) -> Iterator[Path]:
    """Its interpreter; made anew when the requirements or the Python have changed.

    Raises:
        Unmeasured: the packages cannot be installed.
    """
    python = DIRECTORY / "bin" / "python"
    stamp = DIRECTORY / ".made-for"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode() + str(DIRECTORY).encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != wanted:
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        try:
            run([sys.executable, "-m", "venv", str(DIRECTORY)], timeout_s=60)
            run([*pip, "-r", str(REQUIREMENTS)], timeout_s=INSTALL_TIMEOUT_S)
        except Failed as error:
            raise Unmeasured(f"The baselines' packages cannot be installed: {error}") from None
        stamp.write_text(wanted, encoding="ascii")
    yield python
