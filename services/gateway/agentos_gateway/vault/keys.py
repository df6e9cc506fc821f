"""Master keys: what data keys are wrapped with. Kept in the environment, in the system's keyring, or in a file.

A ring holds the current key and those that it followed, until nothing is wrapped with them any more.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from agentos_shared.domain import ids

KEY_BYTES: Final = 32
_OTHERS: Final = 0o077
_SERVICE: Final = "agentos"


class KeyProblem(Exception):
    """The master key cannot be used; the message says why and never shows it."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Master keys by id.

    Args:
        current: id of the key that is used for what is sealed now.
    """

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    @staticmethod
    def of(*keys: bytes) -> "KeyRing":
        """A ring; the first key is the current one. Raises KeyProblem."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyProblem(f"A master key has {KEY_BYTES} bytes.")
        by_id = {key_id(key): key for key in keys}
        return KeyRing(key_id(keys[0]), by_id)

    def renewed(self) -> "KeyRing":
        """With a new key in front."""
        return KeyRing.of(ids.random_bytes(KEY_BYTES), *self._ordered())

    def alone(self) -> "KeyRing":
        """The current key alone."""
        return KeyRing.of(self.keys[self.current])

    def _ordered(self) -> list[bytes]:
        rest = [key for name, key in self.keys.items() if name != self.current]
        return [self.keys[self.current], *rest]

    def text(self) -> str:
        """As it is kept."""
        return json.dumps([key.hex() for key in self._ordered()])

    @staticmethod
    def from_text(text: str) -> "KeyRing":
        """Raises KeyProblem."""
        try:
            return KeyRing.of(*(bytes.fromhex(key) for key in json.loads(text)))
        except (ValueError, TypeError):
            raise KeyProblem("What is kept is no ring of keys; put back the one of a backup.") from None


class KeyPlace(Protocol):
    """Where the ring is kept."""

    name: str

    def read(self) -> KeyRing:
        """The ring, made at the first time. Raises KeyProblem, OSError."""

    def write(self, ring: KeyRing) -> None:
        """Replace the ring. Raises KeyProblem, OSError."""


class GivenKeys:
    """Keys of the environment: one, or several from new to old, separated by commas."""

    name = "SECRETS_MASTER_KEY"

    def __init__(self, text: str) -> None:
        self._ring = KeyRing.of(*(_given(part.strip()) for part in text.split(",") if part.strip()))

    def read(self) -> KeyRing:
        return self._ring

    def write(self, ring: KeyRing) -> None:
        if ring.current != self._ring.current:
            raise KeyProblem("The master key is given by SECRETS_MASTER_KEY: put a new one in front of it, by a comma.")


class FileKeys:
    """A file that only its owner may read."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> KeyRing:
        if not self._path.exists():
            self._make()
        if self._path.stat().st_mode & _OTHERS:
            raise KeyProblem(
                f"{self._path} is readable by other users; whoever has it reads all secrets. chmod 600 it."
            )
        return KeyRing.from_text(self._path.read_text(encoding="ascii"))

    def write(self, ring: KeyRing) -> None:
        self._written(ring).replace(self._path)
        self._sync()

    def _make(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = self._written(KeyRing.of(ids.random_bytes(KEY_BYTES)))
        try:
            self._path.hardlink_to(own)
            self._sync()
        except FileExistsError:
            return  # another process was first, and its key counts
        finally:
            own.unlink()

    def _written(self, ring: KeyRing) -> Path:
        own = self._path.with_name(f"{self._path.name}.{ids.random_bytes(8).hex()}")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(ring.text())
            stream.flush()
            os.fsync(descriptor)
        return own

    def _sync(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class SystemKeys:
    """The keyring of the operating system."""

    name = "keyring"

    def __init__(self, account: str) -> None:
        self._account = account

    def read(self) -> KeyRing:
        import keyring
        from keyring.errors import KeyringError

        try:
            text = keyring.get_password(_SERVICE, self._account)
            if text is None:
                ring = KeyRing.of(ids.random_bytes(KEY_BYTES))
                keyring.set_password(_SERVICE, self._account, ring.text())
                return ring
        except KeyringError as error:
            raise KeyProblem(f"The system's keyring does not answer ({type(error).__name__}).") from None
        return KeyRing.from_text(text)

    def write(self, ring: KeyRing) -> None:
        import keyring
        from keyring.errors import KeyringError

        try:
            keyring.set_password(_SERVICE, self._account, ring.text())
        except KeyringError as error:
            raise KeyProblem(f"The system's keyring does not answer ({type(error).__name__}).") from None


def open_ring(given: str | None, path: Path | None, *, system: bool) -> KeyPlace | None:
    """Where the master key is: given, in the system's keyring, in a file; None: nowhere, so there is no vault.

    Raises:
        KeyProblem: the one that is given is none.
    """
    if given:
        return GivenKeys(given)
    if system:
        return SystemKeys("vault" if path is None else str(path))
    return None if path is None else FileKeys(path)


def key_id(key: bytes) -> str:
    """The name of a key: tells nothing of it."""
    return hashlib.sha256(b"agentos vault key\x00" + key).hexdigest()[:16]


def _given(text: str) -> bytes:
    """64 hexadecimal digits, or base64 of 32 bytes."""
    try:
        return bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise KeyProblem(
            f"SECRETS_MASTER_KEY must be {KEY_BYTES} bytes in hexadecimal or base64: openssl rand -hex {KEY_BYTES}"
        ) from None
