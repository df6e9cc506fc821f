"""Capability tokens as Biscuits: Ed25519 signatures, a block each, each block's key signed by the block before.

The first block tells what was granted and is signed by the key of the installation. Each further block narrows it, and
is appended by whoever holds the token, without asking anybody. Blocks hold one fact each, whose one term is JSON as
bytes: ``agentos(hex:...)`` and ``narrow(hex:...)``. Whatever else a block holds is refused, since a check that is not
understood here could not be honoured when lists are filtered or the gate is asked.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import orjson
from biscuit_auth import (
    Algorithm,
    Biscuit,
    BiscuitBuilder,
    BiscuitValidationError,
    BlockBuilder,
    KeyPair,
    PrivateKey,
    PublicKey,
)
from pydantic import ValidationError

from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.delegations import MAX_DEPTH
from agentos_shared.domain.envelope import Actor, timestamp
from agentos_shared.domain.token_bounds import Bounds, Narrowing, Wider

PREFIX: Final = "agcap_"
MAX_CHARACTERS: Final = 16_384
KEY_BYTES: Final = 32
_VERSION: Final = 1
#: Missing in the package's stubs, as is the argument that takes it.
_ED25519: Final = Algorithm.Ed25519  # type: ignore[attr-defined]
_BLOCK: Final = re.compile(r"(agentos|narrow)\(hex:([0-9a-f]+)\);\n?")


class TokenInvalid(ValueError):
    """A token that proves nothing.

    Attributes:
        code: ``invalid_token``, ``token_block_not_understood``, ``token_block_wider`` or ``delegation_depth_exceeded``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Granted:
    """What the first block says.

    Args:
        token_id: the capability. actor: whom it was granted to.
        depth: how many times it was handed on before.
    """

    workspace_id: str
    token_id: str
    actor: Actor
    bounds: Bounds
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """A token whose signatures hold.

    Args:
        bounds: what all of its blocks leave.
        narrowed: how many blocks its holders appended.
        uses: of each block that limits them the revocation id, and how many it allows.
    """

    granted: Granted
    bounds: Bounds
    narrowed: int
    uses: tuple[tuple[str, int], ...] = ()


class TokenKey:
    """The key that capability tokens are signed with."""

    def __init__(self, secret: bytes) -> None:
        pair = KeyPair.from_private_key(PrivateKey.from_bytes(secret, _ED25519))  # type: ignore[call-arg]
        self._private, self._public = pair.private_key, pair.public_key

    @classmethod
    def from_text(cls, text: str) -> Self:
        """From the key's 64 hexadecimal digits. Raises ValueError."""
        secret = bytes.fromhex(text.strip())
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, this has {len(secret)}")
        return cls(secret)

    @property
    def public(self) -> str:
        """The public half, as 64 hexadecimal digits; whoever holds it can check tokens and make none."""
        return bytes(self._public.to_bytes()).hex()

    def mint(self, granted: Granted, scopes: dict[str, Any]) -> str:
        """A token.

        Args:
            scopes: the capability's, which ``granted.bounds`` follow from.
        """
        until = granted.bounds.valid_until
        told = {
            "v": _VERSION,
            "workspace_id": granted.workspace_id,
            "token_id": granted.token_id,
            "actor": list(granted.actor),
            "scopes": scopes,
            "valid_until": None if until is None else timestamp(until),
            "depth": granted.depth,
        }
        builder = BiscuitBuilder("agentos({told})", {"told": orjson.dumps(told)})
        return _text(builder.build(self._private))

    def open(self, text: str) -> Opened:
        """What a token proves. Whether it is still good is for others to say.

        Raises:
            TokenInvalid: see there.
        """
        return _opened(_verified(text, self._public))


def attenuate(text: str, public: str, narrowing: Narrowing) -> str:
    """A token that covers less; the first one stays as good as it was. Asks nobody.

    Args:
        public: public half of the installation's key, as hexadecimal digits.

    Raises:
        TokenInvalid: the token is none, or ``token_block_wider``, ``delegation_depth_exceeded`` of what it would be.
    """
    root = PublicKey.from_bytes(bytes.fromhex(public), _ED25519)  # type: ignore[call-arg]
    token = _verified(text, root)
    told = narrowing.model_dump(exclude_none=True)
    narrowed = token.append(BlockBuilder("narrow({told})", {"told": orjson.dumps(told)}))
    _opened(narrowed)
    return _text(narrowed)


def _text(token: Biscuit) -> str:
    return PREFIX + token.to_base64().rstrip("=")


def _verified(text: str, public: PublicKey) -> Biscuit:
    if not text.startswith(PREFIX) or len(text) > MAX_CHARACTERS:
        raise TokenInvalid("invalid_token", "This is no capability token.")
    try:
        return Biscuit.from_base64(text[len(PREFIX) :], public)
    except BiscuitValidationError:
        raise TokenInvalid("invalid_token", "This token is not whole, or was not issued here.") from None


def _opened(token: Biscuit) -> Opened:
    count = token.block_count()
    granted = _granted(_told(token, 0, "agentos"))
    if granted.depth + count - 1 > MAX_DEPTH:
        raise TokenInvalid(
            "delegation_depth_exceeded", f"A capability is handed on and narrowed {MAX_DEPTH} times at most."
        )
    bounds = granted.bounds
    uses = []
    for place in range(1, count):
        told = _told(token, place, "narrow")
        try:
            by = Narrowing.model_validate(told)
            bounds = bounds.narrowed(by)
        except Wider as error:
            raise TokenInvalid("token_block_wider", f"Block {place} of this token: {error}.") from None
        except ValidationError:
            raise _not_understood(place) from None
        if by.max_uses is not None:
            uses.append((token.revocation_ids[place], by.max_uses))
    return Opened(granted, bounds, count - 1, tuple(uses))


def _told(token: Biscuit, place: int, name: str) -> Any:
    match = _BLOCK.fullmatch(token.block_source(place)) if token.block_external_key(place) is None else None
    if match is None or match[1] != name:
        raise _not_understood(place)
    try:
        return orjson.loads(bytes.fromhex(match[2]))
    except ValueError:
        raise _not_understood(place) from None


def _granted(told: Any) -> Granted:
    try:
        if told["v"] != _VERSION:
            raise _not_understood(0)
        until: datetime | None = None if told["valid_until"] is None else moment(told["valid_until"])
        bounds = Bounds.of(told["scopes"], until)
        return Granted(told["workspace_id"], told["token_id"], Actor(*told["actor"]), bounds, told["depth"])
    except (KeyError, TypeError, ValueError):  # signed here, and yet of another form
        raise _not_understood(0) from None


def _not_understood(place: int) -> TokenInvalid:
    return TokenInvalid(
        "token_block_not_understood", f"Block {place} of this token says something that is not understood here."
    )
