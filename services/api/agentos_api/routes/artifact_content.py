"""The content of an artifact, byte for byte, wherever it is kept."""

import hashlib
from typing import Final

from fastapi import APIRouter, Request, Response

from agentos_api.http.edge import InternalError
from agentos_api.reads.queries import problems, reader_of, storable
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.errors import NotFound
from agentos_shared.store.blobs import Blobs
from agentos_shared.store.reader import read_entities

router = APIRouter(tags=["artifacts"])

_MIME: Final = {"text": "text/plain; charset=utf-8", "json": "application/json"}
#: Whoever wrote the content is a stranger to the browser that opens it: it is saved, and runs nothing.
_HARMLESS: Final = {"content-disposition": "attachment", "content-security-policy": "default-src 'none'; sandbox"}


@router.get(
    "/v1/artifacts/{artifact_id}/content",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes, of the artifact's mime_type.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "1256 words"}
            },
        },
        **problems("artifact_not_found, content_not_found", None),
    },
    summary="Read an artifact's content",
)
async def get_artifact_content(request: Request, artifact_id: str) -> Response:
    """The content that an artifact keeps here: a text's UTF-8, a JSON value's canonical bytes. ``etag`` is its hash."""
    reader = reader_of(request)
    found = {}
    if storable(artifact_id):
        async with reader.connection() as connection:
            found = await read_entities(connection, [artifact_id])
    first = found[artifact_id][0] if artifact_id in found else None
    if first is None or first.entity_type != "artifact" or first.workspace_id != reader.workspace_id:
        raise NotFound("artifact_not_found", "There is no such artifact in this workspace.")
    data = first.data
    content = data["content"]
    kind, digest = content["type"], data["sha256"]
    if kind not in _MIME:
        raise NotFound("content_not_found", f"This artifact keeps no content here: its type is {kind}.")
    if content.get("blob"):
        raw = await Blobs(request.app.state.services.settings.blob_dir).get(digest)
        if raw is None or hashlib.sha256(raw).hexdigest() != digest:
            what = "is gone" if raw is None else "is not what it was"
            raise InternalError("content_damaged", f"blobs/{digest} {what}; restore it from a backup.")
    else:
        raw = content["text"].encode() if kind == "text" else canonical(content["json"])
    return Response(raw, 200, _HARMLESS | {"etag": f'"{digest}"'}, media_type=data["mime_type"] or _MIME[kind])
