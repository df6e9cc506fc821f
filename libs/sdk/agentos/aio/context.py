"""What a handler gets: the run that it works on, its steps and their tool calls, all on record as they happen."""

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from agentos.aio.client import AsyncClient
from agentos.errors import ActionRefused, ApprovalRefused, Conflict, LeaseLost
from agentos.holding import Holding
from agentos.models import Approval, ArtifactCreated, MessageCreated
from agentos.tools import MAX_OUTPUT_BYTES, Tools, error_of, key_of, message_of, object_of, size_of

log: Final = logging.getLogger("agentos.worker")

#: Seconds between looks whether the lease is still ours, while a decision is waited for.
LOOK_S: Final = 10.0


class AsyncRunContext:
    """A run that is ours for now.

    Attributes:
        client: for whatever else the API offers. What is written with it is not under the lease.
        summary: set it to say in a sentence what came of the run.
    """

    def __init__(self, client: AsyncClient, holding: Holding, tools: Tools) -> None:
        claimed = holding.run
        self.client = client
        self.id = claimed.run_id
        self.workspace_id = claimed.workspace_id
        self.room_id = claimed.room_id
        self.thread_id = claimed.thread_id
        self.title = claimed.title
        self.goal = claimed.goal
        self.input = claimed.input
        self.tags = claimed.tags
        self.attempt_no = claimed.attempt_no
        self.max_attempts = claimed.max_attempts
        self.summary: str | None = None
        self._holding = holding
        self._tools = tools

    @property
    def lost(self) -> bool:
        """Whether the lease is gone. A blocking handler that works long between writes asks now and then."""
        return self._holding.lost is not None

    @property
    def heartbeats(self) -> int:
        """How often the lease was renewed."""
        return self._holding.heartbeats

    def step(
        self,
        kind: str,
        *,
        title: str | None = None,
        input: Mapping[str, Any] | None = None,
    ) -> "AsyncStepContext":
        """A step, as a context manager: an exception inside fails it, and goes on."""
        return AsyncStepContext(self, kind, title, input)

    async def require_approval(
        self,
        action: str,
        request: Mapping[str, Any] | None = None,
        *,
        title: str | None = None,
        context: Mapping[str, Any] | None = None,
        scope: Mapping[str, Any] | None = None,
        timeout_s: float = 86_400.0,
    ) -> Approval:
        """Ask a person to allow something, and wait for the answer.

        Asking the same again in the same run finds the same request, also from another process or in a later attempt:
        what was decided meanwhile is not asked for twice.

        Args:
            request: what exactly is to be done; the approval is for this, once, unless a ``scope`` says otherwise.

        Returns:
            The approval, for ``client.approvals.consume`` right before the act; ``consumed`` if that was done before.

        Raises:
            ApprovalRefused: it was denied, or nobody decided in time. TimeoutError: it is open after ``timeout_s``.
            LeaseLost: the run is not ours any more.
        """
        asked: dict[str, Any] = {"request": request or {}, "title": title, "context": context, "scope": scope}
        with self._holding.writing():
            made = await self.client.approvals.create(
                action,
                room_id=self.room_id,
                thread_id=self.thread_id,
                run_id=self.id,
                idempotency_key=key_of(self.id, action, asked),
                **asked,
            )
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            approval = await self.client.approvals.get(made.approval_id, wait_s=min(max(left_s, 0), LOOK_S))
            with self._holding.writing():
                if approval.granted:
                    return approval
            if not approval.open:
                raise ApprovalRefused(approval.approval_id, action, approval.status, approval.decision_reason)
            if left_s <= 0:
                raise TimeoutError(f"{made.approval_id} is still {approval.status} after {timeout_s:g} s.")

    async def guard(
        self,
        action: str,
        request: Mapping[str, Any] | None = None,
        *,
        title: str | None = None,
        timeout_s: float = 86_400.0,
    ) -> None:
        """Return once an action may be done, right before it is done, and for this one time.

        The gate decides. Where it asks for an approval, a person is asked and waited for, as by
        :meth:`require_approval`. The approval that allows it is used.

        Raises:
            ActionRefused: the gate denies it.
            ApprovalRefused: a person does, or an earlier attempt has used the approval.
            Conflict: a kill switch was engaged, or the approval used up or revoked, since it was looked at.
            TimeoutError, LeaseLost: as :meth:`require_approval`.
        """
        given = dict(request or {})
        place = {"room_id": self.room_id, "thread_id": self.thread_id, "run_id": self.id}
        with self._holding.writing():
            answer = await self.client.request(
                "POST", "/v1/policy/evaluate", body={"action": action, "context": given, **place}
            )
        said = answer.members()
        approval_id, digest = said.get("approval_id"), said["action_digest"]
        if said["decision"] == "deny":
            raise ActionRefused(action, said["reason_code"], said.get("reason"))
        if said["decision"] == "require_approval":
            approval = await self.require_approval(action, given, title=title, timeout_s=timeout_s)
            if approval.status == "consumed":
                raise ApprovalRefused(approval.approval_id, action, approval.status, approval.decision_reason)
            approval_id = approval.approval_id
        if approval_id is not None:
            with self._holding.writing():
                await self.client.approvals.consume(approval_id, digest, action=action, parameters=given, **place)

    async def say(self, content_md: str) -> MessageCreated:
        """Say something in the run's thread.

        Raises:
            ValueError: the run has no thread.
        """
        if self.thread_id is None:
            raise ValueError(f"{self.id} has no thread; give it one when it is created, or use client.messages.")
        with self._holding.writing():
            return await self.client.messages.create(self.thread_id, content_md)


class AsyncStepContext:
    """One step of a run.

    Attributes:
        id: once it has begun.
        output: set it to keep something, in a step without tool calls: the outcome of a tool call is its step's.
        ended: by the outcome of its last tool call.
    """

    def __init__(
        self,
        run: AsyncRunContext,
        kind: str,
        title: str | None,
        input: Mapping[str, Any] | None,
    ) -> None:
        self.run = run
        self.id = ""
        self.output: Mapping[str, Any] | None = None
        self.ended = False
        self._kind = kind
        self._title = title
        self._input = input
        self._client = run.client
        self._holding = run._holding
        self._token = run._holding.run.claim_token

    async def tool(self, name: str, function: Callable[..., Any] | None = None, /, **arguments: Any) -> Any:
        """Use a tool: its call, its input and what came of it are on record.

        Args:
            name: of a tool registered with ``@worker.tool(name)``, where no function is given.
            function: called with the arguments; blocking or asynchronous.

        Returns:
            What the function returned, as it is.

        Raises:
            UnknownTool: there is no such tool. ToolRefused: a policy did not allow it. Whatever the function raised.
        """
        chosen = function if function is not None else self.run._tools.find(name)
        async with self.call(name, arguments) as call:
            call.output = found = await self.run._tools.acall(chosen, arguments)
        return found

    def call(
        self,
        tool_name: str,
        input: Mapping[str, Any] | None = None,
        *,
        title: str | None = None,
    ) -> "AsyncCallContext":
        """A tool call as a context manager, for what is no function: set its ``output`` inside."""
        return AsyncCallContext(self, tool_name, input or {}, title)

    async def artifact(
        self,
        kind: str,
        *,
        title: str | None = None,
        text: str | None = None,
        json: Any = None,
        uri: str | None = None,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ArtifactCreated:
        """Keep something that the step made."""
        with self._holding.writing():
            return await self._client.artifacts.create(
                self.id,
                kind,
                title=title,
                text=text,
                json=json,
                uri=uri,
                mime_type=mime_type,
                metadata=metadata,
                claim_token=self._token,
            )

    async def __aenter__(self) -> Self:
        with self._holding.writing():
            made = await self._client.steps.create(
                self.run.id, self._kind, title=self._title, input=self._input, claim_token=self._token
            )
        self.id = made.step_id
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, LeaseLost) or self._holding.lost is not None:
            return  # nothing of ours is taken any more
        if self.ended:
            if self.output is not None:
                log.warning("step %s: its output is not kept, since a tool call's outcome is the step's", self.id)
            return
        try:
            with self._holding.writing():
                if error is None:
                    await self._client.steps.complete(self.id, output=self.output, claim_token=self._token)
                else:
                    await self._client.steps.fail(
                        self.id, message=message_of(error), error=error_of(error), claim_token=self._token
                    )
        except Conflict as conflict:
            if conflict.code != "step_already_ended":  # its tool call ended it
                raise


class AsyncCallContext:
    """One tool call.

    Attributes:
        output: what came of it; any JSON. A large one becomes an artifact that the call refers to.
    """

    def __init__(
        self,
        step: AsyncStepContext,
        tool_name: str,
        input: Mapping[str, Any],
        title: str | None,
    ) -> None:
        self.step = step
        self.id = ""
        self.output: Any = None
        self._tool_name = tool_name
        self._input = input
        self._title = title
        self._calls = step._client.tool_calls
        self._holding = step._holding
        self._token = step._token

    async def __aenter__(self) -> Self:
        with self._holding.writing():
            made = await self._calls.invoke(
                self.step.id, self._tool_name, input=self._input, title=self._title, claim_token=self._token
            )
        self.id = made.tool_call_id
        self.step.ended = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holding.lost is not None:
            return
        if error is None:
            try:
                await self._succeed(object_of(self.output))
                return
            except TypeError as wrong:
                await self._fail(wrong)
                raise
        await self._fail(error)

    async def _succeed(self, output: Mapping[str, Any]) -> None:
        size = size_of(output)
        if size > MAX_OUTPUT_BYTES:
            kept = await self.step.artifact("tool.output", title=self._tool_name, json=output)
            output = {"artifact_id": kept.artifact_id, "size_bytes": size}
        with self._holding.writing():
            await self._calls.succeed(self.id, output=output, claim_token=self._token)
        self.step.ended = True

    async def _fail(self, error: BaseException) -> None:
        with self._holding.writing():
            await self._calls.fail(self.id, message=message_of(error), error=error_of(error), claim_token=self._token)
        self.step.ended = True
