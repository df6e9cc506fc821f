"""What is done in a run: steps, tool calls, artifacts. ``claim_token`` is needed where the run is under a lease."""

from collections.abc import Mapping
from typing import Any

from agentos.aio.connection import Connection
from agentos.aio.listing import AsyncListing
from agentos.answers import clean
from agentos.errors import ToolRefused
from agentos.models import Artifact, ArtifactCreated, Step, StepCreated, ToolCall, ToolInvoked, Written


class Steps:
    """Parts of a run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        run_id: str,
        kind: str,
        *,
        title: str | None = None,
        input: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> StepCreated:
        """A new step of a running run."""
        body = {"kind": kind, "title": title, "input": input, "claim_token": claim_token}
        path = f"/v1/runs/{run_id}/steps"
        return (await self._connection.post(path, body, idempotency_key=idempotency_key)).read(StepCreated)

    def list(self, run_id: str, *, min_position: str | Written | None = None) -> AsyncListing[Step]:
        """Steps of a run, first to last."""
        return AsyncListing(self._connection, f"/v1/runs/{run_id}/steps", "steps", Step, {}, min_position)

    async def complete(
        self,
        step_id: str,
        *,
        output: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """End a step well."""
        body = {"output": output, "claim_token": claim_token}
        return (
            await self._connection.post(f"/v1/steps/{step_id}/complete", body, idempotency_key=idempotency_key)
        ).read(Written)

    async def fail(
        self,
        step_id: str,
        *,
        message: str | None = None,
        error: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """End a step as failed."""
        body = {"message": message, "error": error, "claim_token": claim_token}
        path = f"/v1/steps/{step_id}/fail"
        return (await self._connection.post(path, body, idempotency_key=idempotency_key)).read(Written)


class ToolCalls:
    """Uses of tools in a step."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def invoke(
        self,
        step_id: str,
        tool_name: str,
        *,
        input: Mapping[str, Any] | None = None,
        title: str | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> ToolInvoked:
        """Put on record that a tool is used now.

        Raises:
            ToolRefused: a policy did not allow it, so that there is no such call.
        """
        body = {"tool_name": tool_name, "input": input, "title": title, "claim_token": claim_token}
        answer = await self._connection.post(f"/v1/steps/{step_id}/toolcalls", body, idempotency_key=idempotency_key)
        members = answer.members()
        if "tool_call_id" not in members and "decision" in members:
            raise ToolRefused(tool_name, members["decision"], members.get("reason_code", ""), members.get("reason"))
        return answer.read(ToolInvoked)

    async def succeed(
        self,
        tool_call_id: str,
        *,
        output: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """What came of it."""
        body = {"output": output, "claim_token": claim_token}
        path = f"/v1/toolcalls/{tool_call_id}/succeed"
        return (await self._connection.post(path, body, idempotency_key=idempotency_key)).read(Written)

    async def fail(
        self,
        tool_call_id: str,
        *,
        message: str | None = None,
        error: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """Why nothing came of it."""
        body = {"message": message, "error": error, "claim_token": claim_token}
        return (
            await self._connection.post(f"/v1/toolcalls/{tool_call_id}/fail", body, idempotency_key=idempotency_key)
        ).read(Written)

    async def get(self, tool_call_id: str) -> ToolCall:
        """One call, as new as the store is."""
        return (await self._connection.get(f"/v1/toolcalls/{tool_call_id}")).read(ToolCall, "tool_call")

    def list(
        self,
        *,
        run_id: str | None = None,
        step_id: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> AsyncListing[ToolCall]:
        """Calls of a run or a step, first to last."""
        query = {"run_id": run_id, "step_id": step_id, "limit": limit}
        return AsyncListing(self._connection, "/v1/toolcalls", "tool_calls", ToolCall, query, min_position)


class Artifacts:
    """What steps make."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        step_id: str,
        kind: str,
        *,
        title: str | None = None,
        text: str | None = None,
        json: Any = None,
        uri: str | None = None,
        mime_type: str | None = None,
        size_bytes: int | None = None,
        sha256: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        claim_token: str | None = None,
        idempotency_key: str | None = None,
    ) -> ArtifactCreated:
        """Keep something that a step made.

        Args:
            text, json, uri: the content; at most one of them.
            sha256, size_bytes: of the content; checked by the API where it has the content.
        """
        contents = clean({"text": text, "json": json, "uri": uri})
        if len(contents) > 1:
            raise ValueError("An artifact has one content: text, json or uri.")
        body = {
            "kind": kind,
            "title": title,
            "mime_type": mime_type,
            "size_bytes": size_bytes,
            "sha256": sha256,
            "content": {"type": next(iter(contents)), **contents} if contents else None,
            "metadata": metadata,
            "claim_token": claim_token,
        }
        path = f"/v1/steps/{step_id}/artifacts"
        return (await self._connection.post(path, body, idempotency_key=idempotency_key)).read(ArtifactCreated)

    async def get(self, artifact_id: str) -> Artifact:
        """One artifact, as new as the store is."""
        return (await self._connection.get(f"/v1/artifacts/{artifact_id}")).read(Artifact, "artifact")

    async def content(self, artifact_id: str) -> bytes:
        """Its content, however large."""
        return (await self._connection.get(f"/v1/artifacts/{artifact_id}/content")).content

    def list(
        self,
        *,
        run_id: str | None = None,
        step_id: str | None = None,
        room_id: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> AsyncListing[Artifact]:
        """Artifacts, first to last."""
        query = {"run_id": run_id, "step_id": step_id, "room_id": room_id, "limit": limit}
        return AsyncListing(self._connection, "/v1/artifacts", "artifacts", Artifact, query, min_position)
