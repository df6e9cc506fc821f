"""``POST /v1/approvals/decide-batch``: many decisions in one request, each by itself."""

from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field

from agentos_api.append.submission import Answer
from agentos_api.commands import Commands
from agentos_api.http.calls import Asked, Call
from agentos_shared.domain.envelope import ActorType

MAX_DECISIONS: Final = 200


class DecideBatch(BaseModel):
    """Decides several approvals, in order; each succeeds or fails by itself. An item is the body of a decision with its
    `approval_id`. The answer's `results` are those of the single decisions, each with its `status`; one that was
    refused has the members of its problem, the code in `error`. `actor_type` and `actor_id` are those of items that
    name neither.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    decisions: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_DECISIONS)
    actor_type: ActorType | None = None
    actor_id: str | None = Field(None, min_length=1, max_length=200)

    def items(self) -> list[dict[str, Any]]:
        """The decisions, each with who decides."""
        named = {"actor_type": self.actor_type, "actor_id": self.actor_id}
        default = {name: value for name, value in named.items() if value is not None}
        return [item if item.keys() & named else default | item for item in self.decisions]


class Decided(BaseModel):
    """What became of one item: the members of its answer, or of its problem."""

    model_config = ConfigDict(extra="allow")

    status: int = Field(examples=[200])
    approval_id: str | None = Field(None, examples=["appr_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    approval_status: str | None = Field(None, examples=["approved"])
    error: str | None = Field(None, description="Why not: the code of its problem.", examples=[None])


class DecideBatchAnswer(BaseModel):
    """One result an item, in order."""

    results: list[Decided]


class Batches:
    """Serves the call."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    @property
    def call(self) -> Call:
        return Call(
            name="approval.decide_batch",
            path="/v1/approvals/decide-batch",
            body=DecideBatch,
            answer=DecideBatchAnswer,
            run=self._run,
            summary="Decide several approvals",
            example={
                "decisions": [
                    {"approval_id": "appr_01JDAGZ3K8R4W5T6Y7V8X9Z0AB", "decision": "approve"},
                    {"approval_id": "appr_01JDAGZ3K8R4W5T6Y7V8X9Z0AC", "decision": "deny", "reason": "not today"},
                ]
            },
        )

    async def _run(self, asked: Asked) -> Answer:
        body: DecideBatch = asked.body
        commands = [{"type": "approval.decide", "body": item} for item in body.items()]
        answer = await self._commands.execute_bulk(asked.caller, {"commands": commands}, asked.size)
        told = orjson.loads(answer.body)
        if "results" not in told:  # refused as a whole
            return answer
        pairs = zip(body.decisions, told["results"], strict=True)
        results = [{"approval_id": item.get("approval_id"), **result} for item, result in pairs]
        return answer._replace(body=orjson.dumps({"results": results}))
