"""Reading lessons."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of

router = APIRouter(tags=["lessons"])

Id = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]


class Lesson(BaseModel):
    """What to do differently, and what taught it."""

    lesson_id: str = Field(examples=["les_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    experiment_id: str | None
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    scorecard_id: str | None
    incident_id: str | None
    category: str = Field(examples=["evaluation"])
    summary: str = Field(examples=["Score before promoting."])
    action_items: list[str] = Field(examples=[["Add a scorecard to the template."]])
    tags: list[str] = Field(examples=[[]])
    metadata: dict[str, Any] = Field(examples=[{}])
    created_by_type: str = Field(examples=["user"])
    created_by_id: str = Field(examples=["ceo"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "lessons",
    "proj_lessons",
    key="lesson_id",
    time="created_at",
    columns=tuple(Lesson.model_fields),
    documents=("action_items", "tags", "metadata"),
    filters=("incident_id", "scorecard_id", "run_id", "experiment_id"),
)


class LessonPage(BaseModel):
    """Lessons, newest first."""

    lessons: list[Lesson]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get("/v1/lessons", response_model=LessonPage, responses=problems(None), summary="List lessons")
async def list_lessons(
    request: Request,
    experiment_id: Id = None,
    run_id: Id = None,
    scorecard_id: Id = None,
    incident_id: Id = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Lessons of the workspace, newest first."""
    asked = {
        "experiment_id": experiment_id,
        "run_id": run_id,
        "scorecard_id": scorecard_id,
        "incident_id": incident_id,
    }
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"lessons": page["rows"], "next_cursor": page["next_cursor"]})
