"""Reading tool calls."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.oldest_first import OldestFirst
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["tool_calls"])

SQL: Final = statements.load("agentos_api.routes", "tool_calls.sql")


class ToolCall(BaseModel):
    """A tool that was used in a step."""

    tool_call_id: str = Field(examples=["tc_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    step_id: str = Field(examples=["step_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    tool_name: str = Field(examples=["http.get"])
    title: str | None = Field(examples=[None])
    status: str = Field(description="running, succeeded or failed.", examples=["running"])
    input: dict[str, Any] = Field(examples=[{"url": "https://example.org"}])
    output: dict[str, Any] | None = Field(examples=[None])
    error: dict[str, Any] | None = Field(examples=[None])
    started_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    ended_at: str | None = Field(examples=[None])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LIST: Final = OldestFirst(
    "tool_calls",
    "proj_tool_calls",
    key="tool_call_id",
    time="started_at",
    place="started_seq",
    columns=tuple(ToolCall.model_fields),
    documents=("input", "output", "error"),
    filters=("step_id", "run_id"),
)


class ToolCallPage(BaseModel):
    """Tool calls, oldest first."""

    tool_calls: list[ToolCall]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ToolCallAnswer(BaseModel):
    """One tool call."""

    tool_call: ToolCall


Filter = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]


@router.get("/v1/toolcalls", response_model=ToolCallPage, responses=problems(), summary="List tool calls")
async def list_tool_calls(
    request: Request,
    run_id: Filter = None,
    step_id: Filter = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Tool calls of the workspace, oldest first."""
    asked = {"run_id": run_id, "step_id": step_id}
    shown, next_cursor = await LIST.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"tool_calls": shown, "next_cursor": next_cursor})


@router.get(
    "/v1/toolcalls/{tool_call_id}",
    response_model=ToolCallAnswer,
    responses=problems("tool_call_not_found", None),
    summary="Read a tool call",
)
async def get_tool_call(request: Request, tool_call_id: str) -> Response:
    """One tool call, as new as the store is."""
    missing = NotFound("tool_call_not_found", "There is no such tool call in this workspace.")
    row = await reader_of(request).entity(SQL["get_tool_call"], tool_call_id, missing)
    return answer({"tool_call": LIST.entry(row)})
