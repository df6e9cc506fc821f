"""The data directory: its layout, its lock, and what it remembers between starts (passwords, ports)."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from agentos_runtime.errors import AlreadyRunning, RuntimeFailure


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths below one data directory."""

    root: Path

    @property
    def postgres(self) -> Path:
        """The cluster of the embedded Postgres."""
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        """Configuration and JetStream store of the embedded NATS."""
        return self.root / "nats"

    @property
    def blobs(self) -> Path:
        """Contents too large for an event, each named by its SHA-256."""
        return self.root / "blobs"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.root / "logs"

    @property
    def run_file(self) -> Path:
        """What runs now: written by the supervisor, read by ``agentos status``."""
        return self.root / "run.json"

    @property
    def local_token(self) -> Path:
        """The local user's token."""
        return self.root / "local-token"

    @property
    def token_key(self) -> Path:
        """The keys that capability tokens are signed with."""
        return self.root / "capability-key"

    def create(self) -> None:
        """Makes the directories, closed to other users.

        Raises:
            RuntimeFailure: the directory cannot be made or written.
        """
        try:
            for path in (self.root, self.nats, self.logs):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RuntimeFailure(
                f"Cannot make the data directory {self.root}: {error.strerror}. Choose another with --data-dir."
            ) from error
        try:
            write_private(self.root / "writable", "")
            (self.root / "writable").unlink()
        except OSError as error:
            raise RuntimeFailure(
                f"Cannot write to the data directory {self.root}: {error.strerror}. Choose another with --data-dir."
            ) from error

    def passwords(self, names: Iterable[str]) -> dict[str, str]:
        """A password for each name, made once and kept in ``secrets.json`` (0600)."""
        path = self.root / "secrets.json"
        known: dict[str, str] = read_json(path)
        missing = [name for name in names if name not in known]
        if missing:
            known |= {name: secrets.token_hex(24) for name in missing}
            write_private(path, json.dumps(known, indent=1), durable=True)  # a lost password locks the database
        return known

    def make_local_token(self) -> None:
        """Makes the local user's token (0600) unless there is one: what a caller must show in ``enforced`` mode."""
        if not self.local_token.exists():
            write_private(self.local_token, secrets.token_hex(32) + "\n")

    def ports(
        self, names: Iterable[str], host: str = "127.0.0.1", first: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """A free port for each name: the one of the last start where it is still free, at first that of ``first``."""
        path = self.root / "ports.json"
        before: dict[str, int] = read_json(path)
        held: list[socket.socket] = []  # all are held until all are chosen, so that no two are the same
        chosen: dict[str, int] = {}
        try:
            for name in names:
                try:
                    listener = bind(host, int(before.get(name, (first or {}).get(name, 0))))
                except OSError:
                    listener = bind(host, 0)
                held.append(listener)
                chosen[name] = listener.getsockname()[1]
        finally:
            for listener in held:
                listener.close()
        if before | chosen != before:
            write_private(path, json.dumps(before | chosen, indent=1))
        return chosen


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the port. Raises OSError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1)  # two sockets may share a bound address until one of them listens
    except OSError:
        listener.close()
        raise
    return listener


def read_json(path: Path) -> Any:
    """The file's object, or an empty one where it is missing or cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def open_private(path: Path) -> BinaryIO:
    """Opens an emptied file for writing, readable by its owner only, whatever it was before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def write_private(path: Path, text: str, durable: bool = False) -> None:
    """Replaces a file at once, readable by its owner only.

    Args:
        durable: survives a power cut as soon as this returns; otherwise that may leave the file empty.
    """
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        if durable:
            os.fsync(descriptor)
    new.replace(path)


class Lock:
    """Held by the one supervisor of a data directory; the kernel lets go of it however that process ends."""

    def __init__(self, data: DataDir) -> None:
        self._path = data.root / "supervisor.lock"
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"Agent OS already runs on {self._path.parent}. See `agentos status`, stop it with `agentos down`, "
                "or start another copy with other --data-dir and --port."
            ) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._descriptor)
