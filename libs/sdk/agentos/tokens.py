"""Capability tokens: cutting one down before it is handed on, without asking the server."""

import json
from collections.abc import Sequence
from typing import Any, Final

from agentos.errors import AgentOSError

_PREFIX: Final = "agcap_"


class TokenError(AgentOSError):
    """A token that cannot be narrowed: it is none, or was not issued under this key."""


def narrow(
    token: str,
    public_key: str,
    *,
    rooms: Sequence[str] | None = None,
    action_types: Sequence[str] | None = None,
    tools: Sequence[str] | None = None,
    egress_domains: Sequence[str] | None = None,
    data_read: Sequence[str] | None = None,
    data_write: Sequence[str] | None = None,
    zone_max: str | None = None,
    valid_until: str | None = None,
    max_uses: int | None = None,
) -> str:
    """A token that covers less; the one given stays as it is. Needs the extra ``agentos-sdk[tokens]``.

    What is not given stays as it is, and an empty list leaves nothing. The server refuses a token that was narrowed to
    more than it covers, and one that was handed on and narrowed more than five times.

    Args:
        token, public_key: of the answer to a grant.
        zone_max: ``sandbox``, ``supervised`` or ``high_stakes``.
        valid_until: RFC 3339.
        max_uses: commands that it is good for.

    Raises:
        TokenError: see there. ImportError: the extra is not installed.
    """
    try:
        from biscuit_auth import Biscuit, BlockBuilder, PublicKey
    except ImportError as error:
        raise ImportError("narrow() needs biscuit-python: pip install 'agentos-sdk[tokens]'") from error
    access = _given(read=data_read, write=data_write)
    told = _given(
        rooms=rooms,
        action_types=action_types,
        tools=tools,
        egress_domains=egress_domains,
        data_access=access or None,
        zone_max=zone_max,
        valid_until=valid_until,
        max_uses=max_uses,
    )
    try:
        root = PublicKey(f"ed25519/{public_key}")
        opened = Biscuit.from_base64(token.removeprefix(_PREFIX), root)
    except Exception as error:  # of the package's own kinds, which differ between its versions
        raise TokenError(f"This is no capability token of that key: {error}") from None
    block = BlockBuilder("narrow({told})", {"told": json.dumps(told, separators=(",", ":")).encode()})
    return _PREFIX + opened.append(block).to_base64().rstrip("=")


def _given(**members: Any) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in members.items()
        if value is not None
    }
