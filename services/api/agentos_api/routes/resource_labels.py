"""Reading labels of resources."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of

router = APIRouter(tags=["data_access"])


class ResourceLabel(BaseModel):
    """The label of a resource; what has none is ``internal``."""

    label_id: str = Field(examples=["lbl_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    resource_type: str = Field(examples=["file"])
    resource_id: str = Field(examples=["salaries.csv"])
    label: str = Field(
        description="public, internal, restricted, confidential or sensitive_pii.", examples=["confidential"]
    )
    room_id: str | None = Field(description="The one room of restricted data.", examples=[None])
    purpose_tags: list[str] = Field(examples=[["payroll"]])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


LISTING: Final = Listing(
    "resource_labels",
    "proj_resource_labels",
    key="label_id",
    time="updated_at",
    columns=tuple(ResourceLabel.model_fields),
    documents=("purpose_tags",),
    filters=("resource_id", "resource_type"),
    workspace_first=("resource_id", "resource_type"),
)


class ResourceLabelPage(BaseModel):
    """Labels of resources, last changed first."""

    labels: list[ResourceLabel]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/resources/labels",
    response_model=ResourceLabelPage,
    responses=problems(),
    summary="List labels of resources",
)
async def list_labels(
    request: Request,
    resource_type: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    resource_id: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Labels of the workspace, last changed first."""
    asked = {"resource_type": resource_type, "resource_id": resource_id}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"labels": page["rows"], "next_cursor": page["next_cursor"]})
