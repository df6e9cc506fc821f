"""``http``: a GET or POST. Off by default: it sends past every policy, and is meant to go through the gateway."""

from typing import Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

import agentos

TIMEOUT_S: Final = 30.0
MAX_BODY_BYTES: Final = 200 * 1024


class Request(BaseModel):
    """The input of a run; ``handler`` is ``http``."""

    model_config = ConfigDict(extra="forbid")

    handler: Literal["http"]
    url: HttpUrl
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict, max_length=64)
    body: str | None = Field(None, max_length=MAX_BODY_BYTES)


async def send(url: str, method: str, headers: dict[str, str], body: str | None) -> dict[str, Any]:
    """One request. Redirects are not followed; a longer answer is cut, and says so."""
    async with (
        httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client,
        client.stream(method, url, headers=headers, content=body) as response,
    ):
        found = bytearray()
        async for chunk in response.aiter_bytes():
            found += chunk
            if len(found) > MAX_BODY_BYTES:
                break
    return {
        "status": response.status_code,
        "headers": dict(response.headers),
        "body": found[:MAX_BODY_BYTES].decode(response.charset_encoding or "utf-8", "replace"),
        "truncated": len(found) > MAX_BODY_BYTES,
    }


def add(worker: agentos.Worker) -> None:
    """Register the handler."""

    @worker.run("http")
    async def http(run: agentos.AsyncRunContext) -> dict[str, Any]:
        asked = Request.model_validate(run.input)
        async with run.step("http", title=f"{asked.method} {asked.url}") as step:
            answer: dict[str, Any] = await step.tool(
                f"http.{asked.method.lower()}",
                send,
                url=str(asked.url),
                method=asked.method,
                headers=asked.headers,
                body=asked.body,
            )
        run.summary = f"{asked.method} {asked.url} -> {answer['status']}"
        return answer
