"""The key that capability tokens are signed with: a file that only this service reads."""

import os
from pathlib import Path

from agentos_shared.domain import ids
from agentos_shared.tokens.biscuits import KEY_BYTES, TokenKey

#: Others than the file's owner.
_OTHERS = 0o077


class UnsafeKey(Exception):
    """The key cannot be used: others may read it, or it is no key."""


def load(path: Path) -> TokenKey:
    """The key in a file, made anew where there is none. Two processes that start at once get the same.

    Raises:
        UnsafeKey: other users may read the file, or it holds no key.
        OSError: it can be neither read nor made.
    """
    if not path.exists():
        _make(path)
    if path.stat().st_mode & _OTHERS:
        raise UnsafeKey(f"{path} is readable by other users; whoever has it makes tokens. chmod 600 it.")
    try:
        return TokenKey.from_text(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise UnsafeKey(
            f"{path} holds no key ({error}). Put back the one of a backup: a new one ends all tokens."
        ) from None


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = path.with_name(f"{path.name}.{ids.random_bytes(8).hex()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(ids.random_bytes(KEY_BYTES).hex() + "\n")
            stream.flush()
            os.fsync(descriptor)
        path.hardlink_to(own)
    except FileExistsError:
        return  # somebody else was first, and theirs counts
    finally:
        own.unlink()
