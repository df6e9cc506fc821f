"""OpenID AuthZEN Authorization API 1.0 on the gate: ``POST /access/v1/evaluation`` and ``/access/v1/evaluations``.

A question becomes the same wish, and the same record, that the thing itself would: an approval of the answer's
``action_digest`` allows what was asked about. Only ``allow`` is ``true``.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from agentos_api.append.submission import Answer
from agentos_api.commands import Commands
from agentos_api.http import problem
from agentos_api.http.calls import Asked, Call
from agentos_shared.domain.actions import ActionName
from agentos_shared.domain.envelope import ActorType, Zone
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid
from agentos_shared.domain.policy.access import PLACES
from agentos_shared.domain.policy.reasons import REASONS

MAX_EVALUATIONS: Final = 200
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
_Id = Annotated[str, Field(min_length=1, max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class SubjectProperties(_Part):
    """What a subject shows. An agent shows its ``principal_id``; further members are not looked at."""

    model_config = ConfigDict(extra="allow")

    principal_id: _Id | None = None
    capability_token_id: _Id | None = None


class Subject(_Part):
    """Who wants to do it: an actor."""

    type: ActorType
    id: Annotated[str, Field(min_length=1, max_length=200)]
    properties: SubjectProperties = Field(default_factory=SubjectProperties)


class AccessAction(_Part):
    """What is to be done. ``properties`` are what it is done with: of ``tool.call`` the tool's input."""

    name: ActionName
    properties: dict[str, Any] = Field(default_factory=dict)


class Resource(_Part):
    """Where it is done (``workspace``, ``room``, ``thread``, ``run``), or what it is done to: a ``tool``, a ``host``,
    of ``data.read`` and ``data.write`` the labelled resource, or anything else. ``properties`` are not looked at.
    """

    type: Annotated[str, Field(min_length=1, max_length=200)]
    id: Annotated[str, Field(min_length=1, max_length=1000)]
    properties: dict[str, Any] = Field(default_factory=dict)


class AccessContext(_Part):
    """Where and in which zone it is done; further members are what it is done with."""

    model_config = ConfigDict(extra="allow")

    room_id: _Id | None = None
    thread_id: _Id | None = None
    run_id: _Id | None = None
    step_id: _Id | None = None
    zone: Zone | None = None
    purpose_tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=50)] = Field(
        default_factory=list
    )
    justification: Annotated[str, Field(min_length=1, max_length=4000)] | None = None


class Evaluation(_Part):
    """One question; what it leaves out is as the request says for all."""

    subject: Subject | None = None
    action: AccessAction | None = None
    resource: Resource | None = None
    context: AccessContext | None = None


class Evaluate(_Part):
    """Asks the gate whether a subject may do something: OpenID AuthZEN Authorization API 1.0. `decision` is true only
    where it is plainly allowed. What needs an approval is false, with `context.decision` `require_approval` and the
    `action_digest` to ask it for. With an engine's or a capability's token, the subject must be its holder.
    """

    subject: Subject
    action: AccessAction
    resource: Resource
    context: AccessContext | None = None


class Options(_Part):
    """How several questions are answered."""

    evaluations_semantic: Semantic = "execute_all"


class EvaluateAll(Evaluation):
    """Asks several questions at once. What stands at the top holds where a question does not say otherwise; without
    `evaluations` it is one question. With `deny_on_first_deny` the answer ends at the first false, with
    `permit_on_first_permit` at the first true. A question that cannot be asked is false, with `context.error`.
    """

    evaluations: Annotated[list[Evaluation], Field(max_length=MAX_EVALUATIONS)] | None = None
    options: Options = Field(default_factory=Options)


class DecisionContext(BaseModel):
    """Why, and what can be done about it: members as in the answer of `POST /v1/policy/evaluate`."""

    model_config = ConfigDict(extra="allow")

    decision: str | None = Field(None, description="allow, deny or require_approval.", examples=["require_approval"])
    reason_code: str = Field(examples=["external_write_requires_approval"])
    reason: str = Field(examples=["What leaves this machine needs an approval."])
    next_steps: list[str] | None = None
    action_digest: str | None = Field(None, examples=["sha256:" + "9f" * 32])
    approval_id: str | None = Field(None, examples=[None])
    decision_id: str | None = Field(None, examples=["dec_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    error: dict[str, Any] | None = Field(
        None, description="Where the question could not be asked: its status and message.", examples=[None]
    )


class EvaluateAnswer(BaseModel):
    """What the gate says."""

    decision: bool = Field(examples=[False])
    context: DecisionContext


class EvaluateAllAnswer(BaseModel):
    """One answer a question, in order; of one question without `evaluations`, its answer."""

    evaluations: list[EvaluateAnswer] | None = None
    decision: bool | None = Field(None, examples=[None])
    context: DecisionContext | None = Field(None, examples=[None])


class AuthZen:
    """Serves both paths."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._kind = commands.service_types["access.decide"]

    @property
    def calls(self) -> tuple[Call, ...]:
        question = {
            "subject": {"type": "user", "id": "ada"},
            "action": {"name": "email.send", "properties": {"to": "list@example.org"}},
            "resource": {"type": "room", "id": "room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"},
        }
        others = [{"action": {"name": "artifact.create"}}, {"action": {"name": "email.send"}}]
        return (
            Call(
                name="access.evaluate",
                path="/access/v1/evaluation",
                body=Evaluate,
                answer=EvaluateAnswer,
                run=self._one,
                summary="Ask whether something is allowed (AuthZEN)",
                example=question,
            ),
            Call(
                name="access.evaluate_all",
                path="/access/v1/evaluations",
                body=EvaluateAll,
                answer=EvaluateAllAnswer,
                run=self._all,
                summary="Ask whether several things are allowed (AuthZEN)",
                example={**question, "evaluations": others, "options": {"evaluations_semantic": "execute_all"}},
            ),
        )

    async def _one(self, asked: Asked) -> Answer:
        body: Evaluate = asked.body
        return await self._single(asked, Evaluation(**{name: getattr(body, name) for name in _MEMBERS}))

    async def _single(self, asked: Asked, question: Evaluation) -> Answer:
        answer = await self._ask(asked, _command(question, asked, None), None)
        if answer.status != 200:
            return answer
        return Answer(200, orjson.dumps(_told(answer)), answer.replayed)

    async def _all(self, asked: Asked) -> Answer:
        body: EvaluateAll = asked.body
        shared = {name: getattr(body, name) for name in _MEMBERS}
        if not body.evaluations:
            return await self._single(asked, Evaluation(**shared))
        questions = [
            Evaluation(**{name: getattr(one, name) or shared[name] for name in _MEMBERS}) for one in body.evaluations
        ]
        commands = [_command(question, asked, place) for place, question in enumerate(questions)]
        asked = asked._replace(size=asked.size // len(commands))
        semantic = body.options.evaluations_semantic
        if semantic == "execute_all":
            answers = [self._told(asked, command, place) for place, command in enumerate(commands)]
            return _listed(await asyncio.gather(*answers))
        told: list[Mapping[str, Any]] = []
        for place, command in enumerate(commands):
            told.append(await self._told(asked, command, place))
            if told[-1]["decision"] == (semantic == "permit_on_first_permit"):
                break
        return _listed(told)

    async def _told(self, asked: Asked, command: Mapping[str, Any], place: int) -> Mapping[str, Any]:
        try:
            return _told(await self._ask(asked, command, place))
        except DomainError as error:
            return _told(problem.answer(error, asked.caller.instance))

    async def _ask(self, asked: Asked, command: Mapping[str, Any], place: int | None) -> Answer:
        """Ask the gate. Of several questions each has an idempotency key of its own."""
        key = asked.caller.idempotency_key
        caller = (
            asked.caller if key is None or place is None else asked.caller._replace(idempotency_key=f"{key}:{place}")
        )
        return await self._commands.execute(self._kind, caller, command, None, asked.size)


_MEMBERS: Final = tuple(Evaluation.model_fields)


def _command(question: Evaluation, asked: Asked, place: int | None) -> dict[str, Any]:
    """The body of the command behind a question.

    Raises:
        Invalid: ``missing_<member>``, ``invalid_resource``. Forbidden: ``subject_not_caller``.
    """
    where = "" if place is None else f"evaluations.{place}."
    subject, action, resource = question.subject, question.action, question.resource
    if subject is None or action is None or resource is None:
        missing = next(name for name in _MEMBERS if getattr(question, name) is None)
        raise Invalid(f"missing_{missing}", f"{where}{missing} is required.")
    holder = asked.identity.actor
    bound = asked.identity.engine is not None or asked.identity.capability is not None
    if bound and (holder is None or (holder.type, holder.id) != (subject.type, subject.id)):
        raise Forbidden("subject_not_caller", f"{where}subject must be the holder of the token that came along.")
    context = question.context or AccessContext()
    command: dict[str, Any] = {
        "actor_type": subject.type,
        "actor_id": subject.id,
        "subject_type": subject.type,
        "subject_id": subject.id,
        "action": action.name,
        "parameters": action.properties,
        "context": dict(context.model_extra or {}),
        **{name: getattr(context, name) for name in AccessContext.model_fields},
        **{name: getattr(subject.properties, name) for name in SubjectProperties.model_fields},
    }
    if resource.type not in PLACES:
        return {**command, "resource_type": resource.type, "resource_id": resource.id}
    member = f"{resource.type}_id"
    known = asked.caller.workspace_id if resource.type == "workspace" else command[member]
    if known not in (None, resource.id):
        raise Invalid("invalid_resource", f"{where}resource is another {resource.type} than the one it is asked in.")
    return command if resource.type == "workspace" else {**command, member: resource.id}


def _told(answer: Answer) -> dict[str, Any]:
    """A decision, or why there is none, as AuthZEN has it."""
    said = orjson.loads(answer.body)
    if answer.status != 200:
        error = {"status": answer.status, "message": said["detail"]}
        return {"decision": False, "context": {"reason_code": said["error"], "reason": said["detail"], "error": error}}
    reason = REASONS[said["reason_code"]].text
    return {"decision": said["decision"] == "allow", "context": {**said, "reason": reason}}


def _listed(told: list[Mapping[str, Any]]) -> Answer:
    return Answer(200, orjson.dumps({"evaluations": told}))
