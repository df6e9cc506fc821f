"""From a request to an appended event: validate, locate, decide, append, answer.

HTTP, bulk and NATS all come through here, so they validate, authorise and answer alike.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import asyncpg
import orjson
from pydantic import ValidationError

from agentos_api.append.appender import Appender, Committed
from agentos_api.append.idempotency import KeyGate, checked
from agentos_api.append.locator import Location, Locator
from agentos_api.append.submission import Answer, Outcome, Part, Placed, Refused, RequestKey, Submission
from agentos_api.command_type import CommandType, Reader, Reference
from agentos_api.gatekeeper import Gatekeeper
from agentos_api.http import problem
from agentos_shared.domain import agents, capability_checks, capability_uses, ids, principals
from agentos_shared.domain.artifacts import Kept
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.capability_checks import VerifiedCapability
from agentos_shared.domain.decider import Command, CommandBody, Decide, LeasedBody, Meta
from agentos_shared.domain.engine_checks import VerifiedEngine
from agentos_shared.domain.envelope import Actor, ActorType, Stream
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.grants import Moment
from agentos_shared.domain.kill_switches import switches_id
from agentos_shared.domain.policy import learning
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.records import Gated
from agentos_shared.domain.policy.standing import Outdated

MAX_BULK: Final = 500
#: How often the gate is asked about one act whose allow was overtaken before it was appended.
MAX_ASKED: Final = 3
#: Approvals that were asked for lately, of which it is remembered.
REMEMBERED: Final = 1_000
#: How many approvals there are with a digest, and the newest of them that is still to be decided.
ASKED: Final = """
select count(*) as times, max(approval_id) filter (where status in ('pending', 'held')) as open
from proj_approvals where workspace_id = $1 and action_digest = $2
"""
#: The most that any stream of a workspace has counted of the same refusals of the same subject.
REFUSED: Final = """
select coalesce(max(seen_count), 0) as seen, coalesce(max(repeat_count), 0) as repeats
from proj_constraints where workspace_id = $1 and subject_key = $2 and pattern_hash = $3
"""
_UUID_OR_ULID = re.compile(
    r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}|[0-7][0-9A-HJKMNP-TV-Z]{25}"
)


class Caller(NamedTuple):
    """Who calls, and what came with the request besides its body.

    Args:
        actor: from the credential, or None in open mode.
        claimed_type: ``x-actor-type``; claimed_id: ``x-actor-id`` (open mode only).
        origin: method and path, for keys and problem documents.
        claim_token: ``x-claim-token``, the lease that it writes under.
        engine: the engine whose credentials came with the request and were checked.
        capability: the capability token that came with it and was checked.
        approver: as whom it may decide what only people may; None: it shows no right to.
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
    claim_token: str | None = None
    engine: VerifiedEngine | None = None
    capability: VerifiedCapability | None = None
    approver: Actor | Literal["as claimed"] | None = "as claimed"


class Commands:
    """Runs commands for this process.

    Attributes:
        types: what anybody may ask for, by name.
        service_types: what services may ask for: the internal commands too.
    """

    def __init__(
        self,
        appender: Appender,
        locator: Locator,
        types: Sequence[CommandType],
        require_space: Callable[[], None],
        reader: Reader,
        gatekeeper: Gatekeeper,
    ) -> None:
        self._appender = appender
        self._require_space = require_space
        self._locator = locator
        self._reader = reader
        self._gatekeeper = gatekeeper
        self._gate = KeyGate()
        self._asked: OrderedDict[str, str] = OrderedDict()
        self.service_types: Mapping[str, CommandType] = {kind.name: kind for kind in types}
        self.types: Mapping[str, CommandType] = {kind.name: kind for kind in types if not kind.internal}

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note which approvals this process has just asked for, by digest: the projection comes later."""
        for event in (committed.event for committed in batch):
            if event.event_type == "approval.requested" and (digest := event.data["action_digest"]) is not None:
                self._asked[digest] = event.entity_id
                if len(self._asked) > REMEMBERED:
                    self._asked.popitem(last=False)

    async def execute(self, kind: CommandType, caller: Caller, body: Any, parent_id: str | None, size: int) -> Answer:
        """Run one command.

        Args:
            body: parsed JSON; where ``parent_id`` is None, the parent's id is a member of it.
            size: bytes of the request.

        Raises:
            DomainError: refused before it could be appended (the appended ones answer their problem themselves).
        """

        async def run() -> Answer:
            answer = Answer(503, b"{}")
            for _ in range(MAX_ASKED):
                outcomes: list[Outcome] = []
                part = await self._prepare(kind, caller, body, parent_id, alone=True)
                answer = await self._submit([part], caller, key, size, partial(_tell, kind, part, caller, outcomes))
                if not (outcomes and isinstance(outcomes[-1], Outdated)):
                    break
            return answer

        self._require_space()
        key = self._key(caller, body)
        return await (run() if key is None else self._gate.run(key, run))

    async def serve(
        self, kind: CommandType, caller: Caller, body: Any, key: RequestKey | None, render: Callable[[Outcome], Answer]
    ) -> Answer:
        """Run one command of a service: answered by ``render``, under a key that the service has from its own caller.

        Raises:
            DomainError: refused before it could be appended.
        """
        self._require_space()
        caller = caller._replace(capability=None)  # it bounds what was asked for, and not what that takes here
        part = await self._prepare(kind, caller, body, None)
        return await self._submit([part], caller, key, 0, lambda told: render(told[0]))

    async def _required(
        self, name: str, caller: Caller, body: Mapping[str, Any], key: RequestKey | None = None
    ) -> None:
        """Run a command that another one needs done before. Raises DomainError."""
        refused: DomainError | None = None

        def render(outcome: Outcome) -> Answer:
            nonlocal refused
            refused = outcome if isinstance(outcome, DomainError) else None
            return problem.answer(refused, caller.instance) if refused is not None else Answer(200, b"{}")

        answer = await self.serve(self.service_types[name], caller, body, key, render)
        if refused is not None:
            raise refused
        if answer.status >= 400:  # of the key: what it refused before it refuses again
            raise Forbidden("capability_uses_exhausted", "This token was good for some commands only.")

    async def execute_bulk(self, caller: Caller, body: Any, size: int) -> Answer:
        """Run up to 500 commands, in order; with ``atomic`` all or none of them, in one stream."""

        async def run() -> Answer:
            wishes, atomic = _bulk(body)
            kinds = [self.types.get(name) for name, _ in wishes]
            pairs = zip(kinds, wishes, strict=True)
            if any(kind is not None and kind.gate is not None for kind in kinds):  # all of them ask in one message
                asking = (self._prepare(kind, caller, value, None) for kind, (_, value) in pairs)
                parts = await asyncio.gather(*asking)
            else:
                parts = [await self._prepare(kind, caller, value, None) for kind, (_, value) in pairs]
            if atomic:
                return await self._submit_atomic(parts, kinds, caller, key, size)

            def render(outcomes: Sequence[Outcome]) -> Answer:
                if len(outcomes) < len(parts) and isinstance(outcomes[0], DomainError):  # of the key
                    return problem.answer(outcomes[0], caller.instance)
                return _results(kinds, parts, outcomes, caller)

            return await self._submit(parts, caller, key, size, render)

        self._require_space()
        key = self._key(caller, body)
        return await (run() if key is None else self._gate.run(key, run))

    async def execute_each(
        self,
        kind: CommandType,
        caller: Caller,
        bodies: Sequence[Any],
        request: Any,
        size: int,
        render: Callable[[Sequence[Outcome]], Answer],
    ) -> Answer:
        """Run one kind of command for each of some bodies, in order; each succeeds or fails by itself.

        Args:
            request: the whole request's body, for its idempotency key.
            render: makes the answer from the outcomes, or from one refusal when the key was used before.
        """

        async def run() -> Answer:
            alone = len(bodies) == 1
            parts = [await self._prepare(kind, caller, body, None, alone=alone) for body in bodies]
            return await self._submit(parts, caller, key, size, render)

        self._require_space()
        key = self._key(caller, request)
        return await (run() if key is None else self._gate.run(key, run))

    async def _submit_atomic(
        self,
        parts: list[Part | Refused],
        kinds: list[CommandType | None],
        caller: Caller,
        key: RequestKey | None,
        size: int,
    ) -> Answer:
        def render(outcomes: Sequence[Outcome]) -> Answer:
            for place, failed in enumerate(outcomes):
                if isinstance(failed, DomainError):
                    document = problem.members(failed, caller.instance) | {"command_index": place}
                    return Answer(failed.status, orjson.dumps(document))
            return _results(kinds, parts, outcomes, caller)

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

    async def _prepare(
        self, kind: CommandType | None, caller: Caller, value: Any, parent_id: str | None, *, alone: bool = False
    ) -> Part | Refused:
        """A command ready to be decided; what is wrong with it takes its place.

        Args:
            alone: whether it is all that the request asks for, so that its idempotency key stands for it.
        """
        if kind is None:
            return Refused(Invalid("unknown_command", f"type must be one of {', '.join(sorted(self.types))}."))
        try:
            return await self._part(kind, caller, value, parent_id, alone)
        except DomainError as error:
            return Refused(error)

    async def _part(self, kind: CommandType, caller: Caller, value: Any, parent_id: str | None, alone: bool) -> Part:
        if type(value) is not dict:
            raise Invalid("invalid_body", "The body must be a JSON object.")
        if kind.parameter is not None and parent_id is None:
            parent_id, value = _take_parent(kind.parameter, value)
        try:
            body = kind.body.model_validate(value)
        except ValidationError as error:
            raise problem.invalid_body(error) from None
        meta = _proven(kind, caller, body)
        if kind.opens_stream:
            if caller.engine is not None:
                caller.engine.require_room("")  # no list of rooms can name one that does not exist yet
            _require_covered(kind, caller, None)
            entity_id = ids.new_id(kind.prefix or "")
            command = Command(body, meta, entity_id, None, entity_id)
            await self._spend(kind, command, caller, alone)
            decide, reads = _watched(kind, meta, ())
            return Part(command, decide, Stream("room", entity_id), reads, fresh_stream=True, tell=kind.extra)
        above = self._above(kind, body, parent_id)
        location = await self.location(above, caller.workspace_id, kind.unknown)
        if kind.refs is not None:
            for reference in kind.refs(body):
                await self.location(reference, caller.workspace_id)
        reads = () if above is None else (above[1],)
        if kind.prefix is not None:
            entity_id = kind.draw(kind.prefix)
        elif kind.entity is not None:
            entity_id = kind.entity(caller.workspace_id, body)
            reads = (entity_id, *reads)
        else:
            entity_id, parent_id = parent_id or "", None
        if kind.reads is not None:
            reads = (*reads, *kind.reads(body, location))
        room_id = location.stream.id if location.stream.type == "room" else None
        if caller.engine is not None and room_id is not None:
            caller.engine.require_room(room_id)
        _require_covered(kind, caller, room_id)
        loaded = None if kind.load is None else await kind.load(self._reader, location, body)
        command = await self._gated(kind, Command(body, meta, entity_id, parent_id, room_id, loaded), location)
        command = await self._counted(command)
        await self._spend(kind, command, caller, alone)
        scan = loaded.scan if isinstance(loaded, Kept) else None
        learned: tuple[str, ...] = getattr(command.loaded, "learned_ids", ())
        decide, reads = _watched(kind, meta, (*reads, *learned))
        part = Part(command, decide, location.stream, reads, False, kind.extra, scan)
        return await self._leaning(part) if kind.acts else part

    async def _gated(self, kind: CommandType, command: Command[Any], location: Location) -> Command[Any]:
        """The command with what the gate says of it, where it must pass through."""
        if kind.weigh is not None:
            return command._replace(loaded=await kind.weigh(self._reader, command))
        if kind.gate is None:
            return command
        request, zone = kind.gate(command, location)
        if command.meta.capability is not None:
            request = _held_to(request, command.meta.capability)
        gated = await self._gatekeeper.decide(request, zone)
        if gated.refused:
            asked_before, open_id = await self._asked_before(gated.request)
            gated = replace(gated, asked_before=asked_before, open_approval_id=open_id)
        return command._replace(loaded=gated)

    async def _asked_before(self, request: Request) -> tuple[bool, str | None]:
        """Whether an approval of exactly this is or was asked for, and one that is still to be decided; as far as the
        projection has come.
        """
        try:
            asked = await self._reader.pool.fetchrow(ASKED, request.workspace_id, request.digest)
        except asyncpg.UndefinedTableError:
            return False, None
        lately = self._asked.get(request.digest)  # it may be ahead of the projection
        if asked is None or not asked["times"]:
            return lately is not None, lately
        return True, asked["open"]

    async def _leaning(self, part: Part) -> Part:
        """An act, with what must stand when it is appended: what stops acts, whoever does it, and what allows it."""
        meta = part.command.meta
        loaded = part.command.loaded
        gated = loaded if isinstance(loaded, Gated) else loaded.gated if isinstance(loaded, Moment) else None
        if gated is not None and gated.refused and loaded is gated:
            return part
        names = {switches_id(meta.workspace_id)}
        if meta.actor.type == "agent" and meta.actor.id.startswith(ids.AGENT):
            names.add(meta.actor.id)
        if meta.capability is not None:
            names.update(token_id for token_id, _ in meta.capability.ancestry)
        if gated is not None:
            names.update(gated.rests_on)
        home = Stream("workspace", meta.workspace_id)
        leans = [(home, name) for name in sorted(names)]
        approval_id = None if gated is None else gated.decision.approval_id
        if approval_id is not None and loaded is gated:
            place = await self.location(("approval", approval_id), meta.workspace_id)
            leans.append((place.stream, approval_id))
        here = tuple(name for stream, name in leans if stream == part.stream)
        elsewhere = tuple(lean for lean in leans if lean[0] != part.stream)
        return part._replace(reads=(*part.reads, *here), leans=elsewhere)

    async def _counted(self, command: Command[Any]) -> Command[Any]:
        """The command with how often the same was refused in other streams, as far as the projection has come."""
        gated = command.loaded
        if not isinstance(gated, Gated) or not gated.refused:
            return command
        subject, _ = learning.subject_of(gated.request, gated.decision)
        pattern = learning.pattern_hash(gated.request, gated.decision, blocked=gated.blocked)
        try:
            row = await self._reader.pool.fetchrow(REFUSED, command.meta.workspace_id, subject, pattern)
        except asyncpg.UndefinedTableError:
            return command
        counts = learning.Counts() if row is None else learning.Counts(row["seen"], row["repeats"])
        return command._replace(loaded=replace(gated, elsewhere=counts))

    async def _spend(self, kind: CommandType, command: Command[Any], caller: Caller, alone: bool) -> None:
        """Count a command against the token that it came with, where that is good for some number only. One that fails
        after this has been counted; one that is sent again under its idempotency key is not counted again.

        Raises:
            Forbidden: ``capability_uses_exhausted``.
        """
        gated = command.loaded
        if caller.capability is None or kind.name in capability_checks.ASKING:
            return
        if isinstance(gated, Gated) and gated.refused:
            return
        wanted = capability_uses.limited(caller.capability)
        if wanted is None:
            return
        body = wanted.model_dump(exclude={"actor_type", "actor_id", "correlation_id", "expected_version"})
        key = None
        if alone and caller.idempotency_key is not None:
            own = canonical(command.body.model_dump(mode="json"))
            scope = f"{command.meta.actor.principal_id} {kind.name} {caller.origin} uses {wanted.token_id}"
            key = RequestKey(caller.workspace_id, scope, checked(caller.idempotency_key), hashlib.sha256(own).digest())
        await self._required("capability.use", caller, body, key)

    def _above(self, kind: CommandType, body: Any, parent_id: str | None) -> Reference | None:
        if kind.parent is not None and parent_id is not None:
            return kind.parent, parent_id
        return None if kind.home is None else kind.home(body)

    async def location(self, reference: Reference | None, workspace_id: str, unknown: str | None = None) -> Location:
        """Where an entity lives; None: the workspace's own stream.

        Raises:
            NotFound: ``<type>_not_found``, or ``unknown``.
        """
        if reference is None:
            return Location("workspace", workspace_id, Stream("workspace", workspace_id))
        kind, entity_id = reference
        location = self._locator.known(entity_id) or await self._locator.find(entity_id)
        if location is None or location.entity_type != kind or location.workspace_id != workspace_id:
            code = unknown or f"{kind}_not_found"
            raise NotFound(code, f"There is no such {kind.replace('_', ' ')} in this workspace.")
        return location


def _tell(
    kind: CommandType, part: Part | Refused, caller: Caller, outcomes: list[Outcome], told: Sequence[Outcome]
) -> Answer:
    outcomes.append(told[0])
    return _render(kind, part, told[0], caller)


def _take_parent(parameter: str, value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    parent_id = value.get(parameter)
    if not isinstance(parent_id, str) or not parent_id:
        raise Invalid(f"missing_{parameter}", f"{parameter} is required here, since there is no path to name it.")
    return parent_id, {name: member for name, member in value.items() if name != parameter}


def _person(caller: Caller) -> Caller:
    """The caller as whoever decides. Raises Forbidden: ``approver_session_required``."""
    if caller.approver == "as claimed" or caller.engine is not None:
        return caller
    if caller.approver is None:
        raise Forbidden(
            "approver_session_required", "Decisions need the local user's token here: `Authorization: Bearer <token>`."
        )
    return caller._replace(actor=caller.approver)


def _proven(kind: CommandType, caller: Caller, body: CommandBody) -> Meta:
    """Who says so, proved to be a person where only people may. Raises: as :func:`_person`."""
    meta = _meta(caller, body)
    return _meta(_person(caller), body) if kind.takes_a_person(body, meta.actor) else meta


def _meta(caller: Caller, body: CommandBody) -> Meta:
    correlation_id = body.correlation_id or caller.correlation_id or ids.new_uuid()
    claim_token = (body.claim_token if isinstance(body, LeasedBody) else None) or caller.claim_token
    return Meta(
        caller.workspace_id,
        _actor(caller, body),
        correlation_id,
        caller.idempotency_key,
        claim_token,
        caller.engine,
        caller.capability,
    )


def _held_to(request: Request, capability: VerifiedCapability) -> Request:
    """A wish that is decided on within the bounds of the token that came along.

    Raises:
        Forbidden: ``capability_scope_not_own``: the body names another capability.
    """
    if request.capability_token_id is not None:
        capability.require_own(request.capability_token_id)
    return replace(
        request,
        principal_id=capability.actor.principal_id,
        capability_token_id=capability.token_id,
        capability_scopes=capability.bounds.scopes(),
    )


def _require_covered(kind: CommandType, caller: Caller, room_id: str | None) -> None:
    """Raises Forbidden when the capability token that came along does not cover a command; whether it covers what goes
    through the gate, the gate says.
    """
    if caller.capability is not None and kind.gate is None:
        caller.capability.require_command(kind.name, room_id)


def _watched(kind: CommandType, meta: Meta, reads: tuple[str, ...]) -> tuple[Decide, tuple[str, ...]]:
    """How a command is decided, and on what: one of a registered agent also on whether that is in quarantine. Where a
    command goes through the gate, the gate says so itself.
    """
    if kind.gate is not None:
        return kind.decide, reads
    decide = kind.decide if meta.capability is None else capability_checks.within_zone(kind.decide, meta.capability)
    if kind.acts:  # what it leans on tells more, and later
        decide = decide if meta.capability is None else capability_checks.unless_revoked(decide, meta.capability)
        return agents.unless_quarantined(decide), reads
    if meta.actor.type != "agent" or not meta.actor.id.startswith(ids.AGENT):
        return decide, reads
    return agents.unless_quarantined(decide), (*reads, meta.actor.id)


def _actor(caller: Caller, body: CommandBody) -> Actor:
    if caller.actor is not None:
        return caller.actor
    if caller.engine is not None:
        return caller.engine.actor
    kind: ActorType
    speaker = body.speaker()
    if (body.actor_type or body.actor_id) and not body.names_subject:
        kind, name = body.actor_type or "user", body.actor_id
    elif caller.claimed_type or caller.claimed_id:
        kind, name = _claimed_type(caller.claimed_type), caller.claimed_id
    elif speaker is not None:
        kind, name = speaker
    else:
        kind, name = "user", None
    if name is None and speaker is not None and speaker[0] == kind:
        name = speaker[1]
    return principals.actor(caller.workspace_id, kind, name or ("api" if kind == "service" else "anon"))


def _claimed_type(claimed: str | None) -> ActorType:
    return "service" if claimed == "service" else "agent" if claimed == "agent" else "user"


def correlation(header: str | None) -> str | None:
    """``x-correlation-id`` as the events' ``correlation_id``: when it is a UUID or a ULID."""
    return header if header and _UUID_OR_ULID.fullmatch(header) else None


def _bulk(body: Any) -> tuple[list[tuple[str, Any]], bool]:
    """The commands of a bulk, as (name, body), and whether it is atomic."""
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
    for place, wish in enumerate(commands):
        if type(wish) is not dict or type(wish.get("type")) is not str or wish.keys() - {"type", "body"}:
            raise Invalid("invalid_commands", f"commands[{place}] must be {{type, body}} and nothing else.")
    return [(wish["type"], wish.get("body", {})) for wish in commands], atomic


def _render(kind: CommandType, part: Part | Refused, outcome: Outcome, caller: Caller) -> Answer:
    if isinstance(outcome, DomainError):
        return problem.answer(outcome, caller.instance)
    answer = _answer(kind, part, outcome)
    kept = None if kind.kept is None else orjson.dumps(kind.kept(answer))
    return Answer(_status(kind, part, outcome), orjson.dumps(answer), kept=kept, passing=_passing([part]))


def _results(
    kinds: Sequence[CommandType | None], parts: Sequence[Part | Refused], outcomes: Sequence[Outcome], caller: Caller
) -> Answer:
    """The answer to a bulk: of each command its HTTP answer's members and ``status``."""
    results: list[Mapping[str, Any]] = []
    kept: list[Mapping[str, Any]] = []
    for kind, part, outcome in zip(kinds, parts, outcomes, strict=True):
        if isinstance(outcome, DomainError):
            results.append(problem.members(outcome, caller.instance))
        elif kind is not None:
            results.append({"status": _status(kind, part, outcome), **_answer(kind, part, outcome)})
        kept.append(results[-1] if kind is None or kind.kept is None else kind.kept(results[-1]))
    secret = any(one is not other for one, other in zip(results, kept, strict=True))
    body = orjson.dumps({"results": results})
    return Answer(200, body, kept=orjson.dumps({"results": kept}) if secret else None, passing=_passing(parts))


def _status(kind: CommandType, part: Part | Refused, placed: Placed) -> int:
    return kind.status if placed and _refusal(part) is None else 200


def _passing(parts: Sequence[Part | Refused]) -> bool:
    """Whether one of them was refused for a reason that may be gone in a moment."""
    refusals = (_refusal(part) for part in parts)
    return any(refusal is not None and refusal.passing for refusal in refusals)


def _refusal(part: Part | Refused) -> Gated | None:
    """What the gate said, where it does not allow what was asked for."""
    loaded = part.command.loaded if isinstance(part, Part) else None
    return loaded if isinstance(loaded, Gated) and loaded.refused else None


def _answer(kind: CommandType, part: Part | Refused, placed: Placed) -> dict[str, Any]:
    assert isinstance(part, Part)
    refusal = _refusal(part)
    answer: dict[str, Any]
    if refusal is not None:
        answer = {"decision_id": placed[0].entity_id, **refusal.answer()}
    elif kind.answers is None:
        answer = {"ok": True}
    else:
        answer = {kind.answers: part.command.entity_id}
    if placed:
        last = placed[-1]
        answer["event_id"] = last.event_id
        answer["stream_type"] = last.stream_type
        answer["stream_id"] = last.stream_id
        answer["stream_seq"] = last.stream_seq
    elif (entry := placed.last) is not None and entry.last_event_id is not None:
        answer["event_id"] = entry.last_event_id
        answer["stream_type"] = part.stream.type
        answer["stream_id"] = part.stream.id
        answer["stream_seq"] = entry.last_seq
    answer.update(placed.extra)
    return answer
