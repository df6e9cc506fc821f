"""The keys that capability tokens are signed with: a file that only their owner reads, a key a line.

The first one signs; tokens of the others are still taken, until they are dropped. Whoever holds the file follows it:
keys that are changed while it runs count within a second.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agentos_shared.domain import ids
from agentos_shared.host.lifecycle import CLOCK, Clock
from agentos_shared.tokens.biscuits import KEY_BYTES, Granted, Opened, TokenInvalid, TokenKey

#: Others than the file's owner.
_OTHERS: Final = 0o077
#: Keys of before that are kept.
MAX_OLD: Final = 8
LOOK_S: Final = 1.0


class UnsafeKey(Exception):
    """The keys cannot be used: others may read them, or they are none."""


class KeyRing:
    """The keys in a file, made anew where there is none. Two processes that start at once get the same.

    Attributes:
        turn: grows whenever the keys have changed.

    Raises:
        UnsafeKey: other users may read the file, or it holds no keys.
        OSError: it can be neither read nor made.
    """

    def __init__(self, path: Path, clock: Clock = CLOCK) -> None:
        self._path = path
        self._clock = clock
        if not path.exists():
            _link(path, [_new()])
        self._keys, self._seen = _read(path), _stamp(path)
        self._looked_at = clock.monotonic()
        self.turn = 0

    @property
    def public(self) -> str:
        """The public half of the key that signs, as hexadecimal digits."""
        return self._now()[0].public

    def mint(self, granted: Granted, scopes: dict[str, Any]) -> str:
        """As :meth:`TokenKey.mint`, by the key that signs."""
        return self._now()[0].mint(granted, scopes)

    def open(self, text: str) -> Opened:
        """As :meth:`TokenKey.open`, by whichever key signed. Raises TokenInvalid."""
        *others, last = self._now()
        for key in others:
            try:
                return key.open(text)
            except TokenInvalid as error:
                if error.code != "invalid_token":
                    raise
        return last.open(text)

    def look(self) -> None:
        """Take the file's keys where it has changed. What cannot be used leaves those of before in force."""
        self._looked_at = self._clock.monotonic()
        try:
            stamp = _stamp(self._path)
            if stamp != self._seen:
                self._keys, self._seen = _read(self._path), stamp
                self.turn += 1
        except (OSError, UnsafeKey):
            return

    def look_now_and_then(self) -> None:
        """As :meth:`look`, once a second."""
        if self._clock.monotonic() - self._looked_at >= LOOK_S:
            self.look()

    def _now(self) -> Sequence[TokenKey]:
        self.look_now_and_then()
        return self._keys


def rotate(path: Path, *, drop_old: bool = False) -> list[str]:
    """Put a new key before those that there are; the public halves, the one that signs first.

    Args:
        drop_old: keep none of them: all tokens that were issued end.

    Raises:
        UnsafeKey, OSError: as :class:`KeyRing`.
    """
    old = [] if drop_old or not path.exists() else _lines(path)
    _replace(path, [_new(), *old[:MAX_OLD]])
    return publics(path)


def publics(path: Path) -> list[str]:
    """The public halves of the keys in a file, the one that signs first. Raises UnsafeKey, OSError."""
    return [key.public for key in _read(path)]


def _new() -> str:
    return ids.random_bytes(KEY_BYTES).hex()


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _lines(path: Path) -> list[str]:
    if path.stat().st_mode & _OTHERS:
        raise UnsafeKey(f"{path} is readable by other users; whoever has it makes tokens. chmod 600 it.")
    return [line for line in path.read_text(encoding="ascii", errors="replace").splitlines() if line.strip()]


def _read(path: Path) -> list[TokenKey]:
    lines = _lines(path)
    try:
        keys = [TokenKey.from_text(line) for line in lines]
    except ValueError as error:
        raise _none(path, str(error)) from None
    if not keys:
        raise _none(path, "it is empty")
    return keys


def _none(path: Path, why: str) -> UnsafeKey:
    return UnsafeKey(f"{path} holds no key ({why}). Put back the one of a backup: a new one ends all tokens.")


def _written(path: Path, keys: Sequence[str]) -> Path:
    """A file of its own beside the path, with these keys, on the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = path.with_name(f"{path.name}.{ids.random_bytes(8).hex()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write("".join(f"{key}\n" for key in keys))
        stream.flush()
        os.fsync(descriptor)
    return own


def _replace(path: Path, keys: Sequence[str]) -> None:
    _written(path, keys).replace(path)


def _link(path: Path, keys: Sequence[str]) -> None:
    own = _written(path, keys)
    try:
        path.hardlink_to(own)
    except FileExistsError:
        return  # somebody else was first, and theirs counts
    finally:
        own.unlink()
