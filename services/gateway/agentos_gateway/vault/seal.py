"""Envelope encryption: each version of a secret has a data key of its own, which the master key wraps.

AES-256-GCM throughout. What a ciphertext belongs to is authenticated with it, so that rows cannot be exchanged.
"""

from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agentos_gateway.vault.keys import KEY_BYTES, KeyProblem, KeyRing
from agentos_shared.domain import ids

_NONCE_BYTES: Final = 12


class Sealed(NamedTuple):
    """A version as it is stored: nonce and ciphertext in one."""

    key_id: str
    wrapped_key: bytes
    sealed: bytes


def seal(ring: KeyRing, value: bytes, about: str) -> Sealed:
    """Seal a value.

    Args:
        about: what it belongs to; opening needs the same.
    """
    data_key = ids.random_bytes(KEY_BYTES)
    context = about.encode()
    return Sealed(
        ring.current, _encrypt(ring.keys[ring.current], data_key, context), _encrypt(data_key, value, context)
    )


def unseal(ring: KeyRing, sealed: Sealed, about: str) -> bytes:
    """The value. Raises KeyProblem: the key is missing, or the row is not what was sealed."""
    context = about.encode()
    return _decrypt(_unwrapped(ring, sealed, context), sealed.sealed, context)


def rewrap(ring: KeyRing, sealed: Sealed, about: str) -> Sealed:
    """The same version under the current master key; the value is not opened. Raises KeyProblem."""
    context = about.encode()
    data_key = _unwrapped(ring, sealed, context)
    return Sealed(ring.current, _encrypt(ring.keys[ring.current], data_key, context), sealed.sealed)


def about(workspace_id: str, secret_id: str, version: int) -> str:
    """What a version belongs to."""
    return f"agentos.vault.v1\n{workspace_id}\n{secret_id}\n{version}"


def _unwrapped(ring: KeyRing, sealed: Sealed, context: bytes) -> bytes:
    key = ring.keys.get(sealed.key_id)
    if key is None:
        raise KeyProblem(f"The master key {sealed.key_id} that a secret was sealed with is not there.")
    return _decrypt(key, sealed.wrapped_key, context)


def _encrypt(key: bytes, plain: bytes, context: bytes) -> bytes:
    nonce = ids.random_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def _decrypt(key: bytes, stored: bytes, context: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise KeyProblem(
            "A secret in the store is not what was sealed: it was changed, or the key is another."
        ) from None
