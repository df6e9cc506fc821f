"""Where the content of an artifact goes: into its event, or beside the store when it is large. Secrets go nowhere."""

import hashlib
from typing import Any

from agentos_api.append.locator import Location
from agentos_api.command_type import Reader
from agentos_shared import dlp
from agentos_shared.domain.artifacts import MAX_INLINE_BYTES, CreateArtifact, Kept, checked
from agentos_shared.domain.canonical import canonical


async def keep(reader: Reader, _location: Location, body: CreateArtifact) -> Kept:
    """Check a content and put it where it is kept, before the event that names it is appended.

    Raises:
        Invalid: as :func:`~agentos_shared.domain.artifacts.checked`. TooLarge: ``content_too_large``.
    """
    raw = checked(body)
    content = body.content
    if content is None or raw is None:
        told = (
            {"type": "uri", "uri": content.uri} if content is not None and content.type == "uri" else {"type": "none"}
        )
        return Kept(told, body.sha256, body.size_bytes)
    name = content.type
    value: Any = content.text if name == "text" else content.value
    scan = dlp.scan({name: value}) if dlp.suspicious(raw) else None
    if scan is not None and scan.found:
        value = scan.data[name]
        raw = value.encode() if name == "text" else canonical(value)
    else:
        scan = None
    if len(raw) <= MAX_INLINE_BYTES:
        return Kept({"type": name, name: value}, hashlib.sha256(raw).hexdigest(), len(raw), scan)
    digest = await reader.blobs.put(raw)
    return Kept({"type": name, "sha256": digest, "size_bytes": len(raw), "blob": True}, digest, len(raw), scan)
