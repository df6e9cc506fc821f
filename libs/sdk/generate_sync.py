"""Writes ``agentos/sync`` from ``agentos/aio``: the same code without ``await``. ``make docs`` runs it.

One description of the API, two clients: what differs between them is listed here, and a test compares the files with
what this makes.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = Path(__file__).parent / "agentos" / "aio"
TARGET: Final = Path(__file__).parent / "agentos" / "sync"

HEADER: Final = '"""The blocking client: made of ``agentos.aio`` by generate_sync.py, not to be edited."""\n'
#: In this order; names stand at word boundaries.
WORDS: Final = (
    (r"await ", ""),
    (r"async (def|with|for)\b", r"\1"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bimport asyncio\b", "import time"),
    (r"\bagentos\.aio\b", "agentos.sync"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\baclosing\b", "closing"),
    (r"\baclose\b", "close"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\baread\b", "read"),
    (r"\bacall\b", "call"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\b__aiter__\b", "__iter__"),
)


def blocking(text: str) -> str:
    """The blocking form of an asynchronous module, formatted."""
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    for command in (["check", "--select", "I,C416,UP028", "--fix", "--unsafe-fixes", "--quiet"], ["format"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET / "module.py"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return text


def texts() -> dict[str, str]:
    """File name -> text, of the whole package."""
    made = {path.name: blocking(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.glob("*.py"))}
    made["__init__.py"] = HEADER
    return made


def main() -> None:
    """Write the package, and remove what has no source any more."""
    made = texts()
    TARGET.mkdir(exist_ok=True)
    for path in TARGET.glob("*.py"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (TARGET / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
