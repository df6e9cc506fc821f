"""``http``: a request to the world outside, through the gateway: what rules and people allow, and nothing else."""

import base64
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

import agentos

MAX_BODY_BYTES: Final = 200 * 1024
#: How long one question waits for an approval; it is asked again until there is a decision.
WAIT_S: Final = 25.0


class Request(BaseModel):
    """The input of a run; ``handler`` is ``http``."""

    model_config = ConfigDict(extra="forbid")

    handler: Literal["http"]
    url: HttpUrl
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict, max_length=64)
    body: str | None = Field(None, max_length=MAX_BODY_BYTES)


async def send(run: agentos.AsyncRunContext, asked: Request, step_id: str) -> dict[str, Any]:
    """One request, once in this attempt. Redirects are not followed; a longer answer is cut, and says so.

    Raises:
        EgressRefused: it was not allowed, or no answer came.
    """
    while True:
        found = await run.client.egress.request(
            asked.method,
            str(asked.url),
            headers=asked.headers,
            body=asked.body,
            wait_s=WAIT_S,
            max_response_bytes=MAX_BODY_BYTES,
            run_id=run.id,
            step_id=step_id,
            idempotency_key=f"{run.id}/{run.attempt_no}/{step_id}",
        )
        if found.decision != "require_approval" or found.approval_id is None or run.lost:
            break
    answer = found.answered()
    return {
        "egress_request_id": found.egress_request_id,
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": await _body(run, found.egress_request_id, answer.content),
        "truncated": answer.truncated,
    }


async def _body(run: agentos.AsyncRunContext, request_id: str, content: Any) -> str:
    """As text; a large one is read from where it is kept."""
    if content is None or content.type == "none":
        return ""
    if content.type == "text":
        return str(content.text)
    if content.type == "base64":
        return base64.b64decode(content.base64).decode("utf-8", "replace")
    kept = await run.client.egress.content(request_id)
    return kept.decode("utf-8", "replace")


def add(worker: agentos.Worker) -> None:
    """Register the handler."""

    @worker.run("http")
    async def http(run: agentos.AsyncRunContext) -> dict[str, Any]:
        asked = Request.model_validate(run.input)
        told = asked.model_dump(mode="json", exclude={"handler"}, exclude_none=True)
        async with (
            run.step("http", title=f"{asked.method} {asked.url}") as step,
            step.call(f"http.{asked.method.lower()}", told) as call,
        ):
            call.output = answer = await send(run, asked, step.id)
        run.summary = f"{asked.method} {asked.url} -> {answer['status']}"
        return answer
