"""An answer from outside, as it is put on record: its head, measures, and as much of its body as is kept."""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentos_gateway.address import Target
from agentos_gateway.send.redirects import BadRedirect, next_hop
from agentos_shared.store.blobs import Blobs

#: What is kept in the event itself.
MAX_INLINE_BYTES: Final = 64 * 1024
#: Header fields of an answer that are on record, and bytes of each.
MAX_FIELDS: Final = 100
MAX_FIELD_BYTES: Final = 2048
#: They would let whoever reads the event act as whoever sent the request.
_WITHHELD: Final = frozenset({"set-cookie", "set-cookie2", "proxy-authenticate", "www-authenticate"})


@dataclass(slots=True)
class Body:
    """The body of an answer as it comes."""

    most: int
    size: int = 0
    truncated: bool = False
    pieces: list[bytes] = field(default_factory=list)

    async def take(self, body: AsyncIterator[bytes]) -> None:
        """All of it, of which ``most`` bytes are kept; beyond that it is not read."""
        async for piece in body:
            room = self.most - self.size
            self.size += len(piece)
            if room > 0:
                self.pieces.append(piece[:room])
            if len(piece) > room:
                self.truncated = True
                return

    @property
    def kept(self) -> bytes:
        return b"".join(self.pieces)


def headers_told(headers: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Header fields as they are recorded: lower-case names, in order, without what lets others in."""
    return [
        [name.lower(), "[withheld]" if name.lower() in _WITHHELD else value[:MAX_FIELD_BYTES]]
        for name, value in headers[:MAX_FIELDS]
    ]


def redirect_told(
    target: Target, method: str, headers: Sequence[tuple[str, str]], status: int, answered: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Where a redirect leads, for whoever asks for it next; nothing follows it. ``{}`` if the answer is none."""
    try:
        hop = next_hop(target, method, headers, status, answered)
    except BadRedirect as error:
        return {"redirect": {"error_code": error.code, "detail": error.detail}}
    if hop is None:
        return {}
    return {
        "redirect": {
            "url": hop.target.url,
            "method": hop.method,
            "headers": sorted({name.lower() for name, _ in hop.headers}),
            "keeps_body": hop.keeps_body,
            "same_origin": hop.same_origin,
        }
    }


async def content_told(kept: bytes, blobs: Blobs) -> dict[str, Any]:
    """A body as it is recorded: text or base64, or where it is large the name under which it is kept beside.

    Raises:
        DomainError: a large one cannot be kept.
    """
    if not kept:
        return {"type": "none"}
    if len(kept) > MAX_INLINE_BYTES:
        return {"type": "blob", "sha256": await blobs.put(kept), "size_bytes": len(kept)}
    try:
        text = kept.decode()
    except UnicodeDecodeError:
        return {"type": "base64", "base64": base64.b64encode(kept).decode()}
    return (
        {"type": "base64", "base64": base64.b64encode(kept).decode()}
        if "\x00" in text
        else {"type": "text", "text": text}
    )


def digest(kept: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(kept).hexdigest()
