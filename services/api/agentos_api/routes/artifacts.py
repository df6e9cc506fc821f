"""Reading artifacts."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.oldest_first import OldestFirst
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["artifacts"])

SQL: Final = statements.load("agentos_api.routes", "artifacts.sql")
UNKNOWN: Final = "There is no such artifact in this workspace."


class Artifact(BaseModel):
    """Something that a step has made."""

    artifact_id: str = Field(examples=["art_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    step_id: str = Field(examples=["step_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    kind: str = Field(examples=["patch"])
    title: str | None = Field(examples=[None])
    mime_type: str | None = Field(examples=["text/x-diff"])
    size_bytes: int | None = Field(examples=[None])
    sha256: str | None = Field(examples=[None])
    content_type: str = Field(description="none, text, json or uri.", examples=["text"])
    content_text: str | None = Field(examples=["hello"])
    content_json: Any | None = Field(examples=[None])
    content_uri: str | None = Field(
        description="Of type uri: where the content is. Of any other: the path that serves one too large for this row.",
        examples=[None],
    )
    metadata: dict[str, Any] = Field(examples=[{}])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LIST: Final = OldestFirst(
    "artifacts",
    "proj_artifacts",
    key="artifact_id",
    time="created_at",
    place="stream_seq",
    columns=tuple(Artifact.model_fields),
    documents=("content_json", "metadata"),
    filters=("step_id", "run_id", "room_id"),
)


class ArtifactPage(BaseModel):
    """Artifacts, oldest first."""

    artifacts: list[Artifact]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ArtifactAnswer(BaseModel):
    """One artifact."""

    artifact: Artifact


Filter = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]


@router.get("/v1/artifacts", response_model=ArtifactPage, responses=problems(), summary="List artifacts")
async def list_artifacts(
    request: Request,
    run_id: Filter = None,
    step_id: Filter = None,
    room_id: Filter = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Artifacts of the workspace, oldest first."""
    asked = {"run_id": run_id, "step_id": step_id, "room_id": room_id}
    shown, next_cursor = await LIST.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"artifacts": shown, "next_cursor": next_cursor})


@router.get(
    "/v1/artifacts/{artifact_id}",
    response_model=ArtifactAnswer,
    responses=problems("artifact_not_found", None),
    summary="Read an artifact",
)
async def get_artifact(request: Request, artifact_id: str) -> Response:
    """One artifact, as new as the store is."""
    row = await reader_of(request).entity(SQL["get_artifact"], artifact_id, NotFound("artifact_not_found", UNKNOWN))
    return answer({"artifact": LIST.entry(row)})
