"""From a request to an appended event: validate, locate, decide, append, answer.

HTTP, bulk and NATS all come through here, so they validate, authorise and answer alike.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from agentos_api.append.appender import Appender
from agentos_api.append.idempotency import KeyGate, checked
from agentos_api.append.locator import Location, Locator
from agentos_api.append.submission import Answer, Outcome, Part, Refused, RequestKey, Submission
from agentos_api.http import problem
from agentos_shared.domain import ids, principals
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.decider import Command, CommandBody, Decide, Meta
from agentos_shared.domain.envelope import Actor, ActorType, Stream
from agentos_shared.domain.errors import DomainError, Invalid, NotFound

MAX_BULK: Final = 500
_UUID_OR_ULID = re.compile(
    r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}|[0-7][0-9A-HJKMNP-TV-Z]{25}"
)


@dataclass(frozen=True, slots=True)
class CommandType:
    """One command: how it is asked for, decided and answered.

    Args:
        name: ``noun.verb``, as in bulk and on NATS.
        path: HTTP path template; at most one parameter, the parent's id.
        prefix: id prefix of the entity that it creates.
        answers: member of the answer that carries the new id.
        parent: entity type of the path's parameter, or None; ``<parent>_not_found`` when there is no such.
        reads: ids of further entities that ``decide`` asks for, from the body and the parent's location.
    """

    name: str
    path: str
    body: type[CommandBody]
    decide: Decide
    prefix: str
    answers: str
    parent: str | None = None
    reads: Callable[[Any, Location], tuple[str, ...]] = lambda _body, _location: ()
    status: int = 201

    @property
    def parameter(self) -> str | None:
        """Name of the path's parameter: ``thread_id``."""
        return f"{self.parent}_id" if self.parent else None


class Caller(NamedTuple):
    """Who calls, and what came with the request besides its body.

    Args:
        actor: from the credential, or None in open mode.
        claimed_type: ``x-actor-type``; claimed_id: ``x-actor-id`` (open mode only).
        origin: method and path, for keys and problem documents.
    """

    workspace_id: str
    origin: str
    instance: str
    actor: Actor | None = None
    claimed_type: str | None = None
    claimed_id: str | None = None
    correlation_id: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None


class Commands:
    """Runs commands for this process."""

    def __init__(
        self, appender: Appender, locator: Locator, types: Sequence[CommandType], require_space: Callable[[], None]
    ) -> None:
        self._appender = appender
        self._require_space = require_space
        self._locator = locator
        self._gate = KeyGate()
        self.types: Mapping[str, CommandType] = {kind.name: kind for kind in types}

    async def execute(self, kind: CommandType, caller: Caller, body: Any, parent_id: str | None, size: int) -> Answer:
        """Run one command.

        Args:
            body: parsed JSON; where ``parent_id`` is None, the parent's id is a member of it.
            size: bytes of the request.

        Raises:
            DomainError: refused before it could be appended (the appended ones answer their problem themselves).
        """

        async def run() -> Answer:
            part = await self._prepare(kind, caller, body, parent_id)
            return await self._submit([part], caller, key, size, lambda outcomes: _render(kind, outcomes[0], caller))

        self._require_space()
        key = self._key(caller, body)
        return await (run() if key is None else self._gate.run(key, run))

    async def execute_bulk(self, caller: Caller, body: Any, size: int) -> Answer:
        """Run up to 500 commands, in order; with ``atomic`` all or none of them, in one stream."""

        async def run() -> Answer:
            wishes, atomic = _bulk(body, self.types)
            parts = [await self._prepare(kind, caller, value, None) for kind, value in wishes]
            kinds = [kind for kind, _ in wishes]
            if atomic:
                return await self._submit_atomic(parts, kinds, caller, key, size)

            def render(outcomes: Sequence[Outcome]) -> Answer:
                results = [_result(kind, outcome, caller) for kind, outcome in zip(kinds, outcomes, strict=True)]
                return Answer(200, orjson.dumps({"results": results}))

            return await self._submit(parts, caller, key, size, render)

        self._require_space()
        key = self._key(caller, body)
        return await (run() if key is None else self._gate.run(key, run))

    async def _submit_atomic(
        self, parts: list[Part | Refused], kinds: list[CommandType], caller: Caller, key: RequestKey | None, size: int
    ) -> Answer:
        def render(outcomes: Sequence[Outcome]) -> Answer:
            failed = outcomes[-1] if outcomes else None
            if isinstance(failed, DomainError):
                document = problem.members(failed, caller.instance) | {"command_index": len(outcomes) - 1}
                return Answer(failed.status, orjson.dumps(document))
            results = [_result(kind, outcome, caller) for kind, outcome in zip(kinds, outcomes, strict=True)]
            return Answer(200, orjson.dumps({"results": results}))

        streams = {part.stream for part in parts if isinstance(part, Part)}
        if len(streams) > 1:
            refusal = Invalid("atomic_needs_one_stream", "Commands of an atomic bulk must all be of one room.")
            parts = [Refused(refusal)]
        return await self._submit(parts, caller, key, size, render, atomic=True)

    async def _submit(
        self,
        parts: Sequence[Part | Refused],
        caller: Caller,
        key: RequestKey | None,
        size: int,
        render: Callable[[Sequence[Outcome]], Answer],
        *,
        atomic: bool = False,
    ) -> Answer:
        submission = Submission(parts, render, atomic, key, caller.traceparent)
        if key is None and not any(isinstance(part, Part) for part in parts):
            return render([part.error for part in parts if isinstance(part, Refused)])
        return await self._appender.submit(submission, size)

    def _key(self, caller: Caller, body: Any) -> RequestKey | None:
        if caller.idempotency_key is None:
            return None
        principal = caller.actor.principal_id if caller.actor else "open"
        return RequestKey(
            caller.workspace_id,
            f"{principal} {caller.origin}",
            checked(caller.idempotency_key),
            hashlib.sha256(canonical(body)).digest(),
        )

    async def _prepare(self, kind: CommandType, caller: Caller, value: Any, parent_id: str | None) -> Part | Refused:
        """A command ready to be decided; what is wrong with it takes its place."""
        try:
            return await self._part(kind, caller, value, parent_id)
        except DomainError as error:
            return Refused(error)

    async def _part(self, kind: CommandType, caller: Caller, value: Any, parent_id: str | None) -> Part:
        if type(value) is not dict:
            raise Invalid("invalid_body", "The body must be a JSON object.")
        if kind.parameter is not None and parent_id is None:
            parent_id, value = _take_parent(kind.parameter, value)
        try:
            body = kind.body.model_validate(value)
        except ValidationError as error:
            raise problem.invalid_body(error) from None
        entity_id = ids.new_id(kind.prefix)
        meta = _meta(caller, body)
        if kind.parent is None or parent_id is None:
            command = Command(body, meta, entity_id, None, entity_id)
            return Part(command, kind.decide, Stream("room", entity_id), fresh_stream=True)
        location = self._locator.known(parent_id) or await self._locator.find(parent_id)
        if location is None or location.entity_type != kind.parent or location.workspace_id != caller.workspace_id:
            raise NotFound(f"{kind.parent}_not_found", f"There is no such {kind.parent} in this workspace.")
        room_id = location.stream.id if location.stream.type == "room" else None
        command = Command(body, meta, entity_id, parent_id, room_id)
        return Part(command, kind.decide, location.stream, (parent_id, *kind.reads(body, location)))


def _take_parent(parameter: str, value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    parent_id = value.get(parameter)
    if not isinstance(parent_id, str) or not parent_id:
        raise Invalid(f"missing_{parameter}", f"{parameter} is required here, since there is no path to name it.")
    return parent_id, {name: member for name, member in value.items() if name != parameter}


def _meta(caller: Caller, body: CommandBody) -> Meta:
    correlation_id = body.correlation_id or caller.correlation_id or ids.new_uuid()
    return Meta(caller.workspace_id, _actor(caller, body), correlation_id, caller.idempotency_key)


def _actor(caller: Caller, body: CommandBody) -> Actor:
    if caller.actor is not None:
        return caller.actor
    kind: ActorType
    speaker = body.speaker()
    if body.actor_type or body.actor_id:
        kind, name = body.actor_type or "user", body.actor_id
    elif caller.claimed_type or caller.claimed_id:
        kind, name = _claimed_type(caller.claimed_type), caller.claimed_id
    elif speaker is not None:
        kind, name = speaker
    else:
        kind, name = "user", None
    return principals.actor(caller.workspace_id, kind, name or ("api" if kind == "service" else "anon"))


def _claimed_type(claimed: str | None) -> ActorType:
    return "service" if claimed == "service" else "agent" if claimed == "agent" else "user"


def correlation(header: str | None) -> str | None:
    """``x-correlation-id`` as the events' ``correlation_id``: when it is a UUID or a ULID."""
    return header if header and _UUID_OR_ULID.fullmatch(header) else None


def _bulk(body: Any, types: Mapping[str, CommandType]) -> tuple[list[tuple[CommandType, Any]], bool]:
    if type(body) is not dict:
        raise Invalid("invalid_body", "The body must be a JSON object.")
    unknown = body.keys() - {"atomic", "commands"}
    if unknown:
        raise Invalid("unknown_field", f"{min(unknown)} is not a known field; remove it.")
    atomic, commands = body.get("atomic", False), body.get("commands")
    if type(atomic) is not bool:
        raise Invalid("invalid_atomic", "atomic must be true or false.")
    if type(commands) is not list or not 1 <= len(commands) <= MAX_BULK:
        raise Invalid("invalid_commands", f"commands must be a list of 1 to {MAX_BULK} commands.")
    wishes: list[tuple[CommandType, Any]] = []
    for place, wish in enumerate(commands):
        if type(wish) is not dict or wish.keys() - {"type", "body"}:
            raise Invalid("invalid_commands", f"commands[{place}] must be {{type, body}} and nothing else.")
        kind = types.get(wish["type"]) if isinstance(wish.get("type"), str) else None
        if kind is None:
            raise Invalid("unknown_command", f"commands[{place}].type must be one of {', '.join(sorted(types))}.")
        wishes.append((kind, wish.get("body", {})))
    return wishes, atomic


def _render(kind: CommandType, outcome: Outcome, caller: Caller) -> Answer:
    if isinstance(outcome, DomainError):
        return problem.answer(outcome, caller.instance)
    return Answer(kind.status, orjson.dumps(_answer(kind, outcome)))


def _result(kind: CommandType, outcome: Outcome, caller: Caller) -> dict[str, Any]:
    """One entry of a bulk answer: the HTTP answer's members and its ``status``."""
    if isinstance(outcome, DomainError):
        return problem.members(outcome, caller.instance)
    return {"status": kind.status, **_answer(kind, outcome)}


def _answer(kind: CommandType, outcome: Sequence[Any]) -> dict[str, Any]:
    last = outcome[-1]
    return {
        kind.answers: outcome[0].entity_id,
        "event_id": str(last.event_id),
        "stream_type": last.stream_type,
        "stream_id": last.stream_id,
        "stream_seq": last.stream_seq,
    }
