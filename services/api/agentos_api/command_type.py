"""What a command is: how it is asked for, located, decided and answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg

from agentos_api.append.locator import Location
from agentos_api.append.submission import Extra
from agentos_api.gatekeeper import Gatekeeper
from agentos_api.reads.together import Together
from agentos_shared.domain import ids
from agentos_shared.domain.decider import Command, CommandBody, Decide
from agentos_shared.domain.envelope import Actor, Zone
from agentos_shared.domain.evidence import RunEvent
from agentos_shared.domain.policy.facts import Request
from agentos_shared.store.blobs import Blobs
from agentos_shared.tokens.key_file import KeyRing

#: (entity type, id)
Reference: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reader:
    """What a command may read before it is decided.

    Args:
        pool: the event store.
        blobs: contents that are kept beside the store.
        ended_runs: events of runs that have ended, by run.
        external_write_stopped: whether the environment engages that kill switch.
        token_key: the keys of capability tokens; None: none are issued.
        gatekeeper: the way to the gate, for what is decided on its word; None: there is none.
    """

    pool: "asyncpg.Pool[asyncpg.Record]"
    blobs: Blobs
    ended_runs: Together[str, list[RunEvent]]
    external_write_stopped: bool = False
    token_key: KeyRing | None = None
    gatekeeper: Gatekeeper | None = None


#: A wish for the gate, and the zone that the caller named.
Wanted: TypeAlias = tuple[Request, Zone | None]

Weigh: TypeAlias = Callable[[Reader, Command[Any]], Awaitable[Any]]
Load: TypeAlias = Callable[[Reader, Location, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class CommandType:
    """One command.

    Args:
        name: ``noun.verb``, as in bulk and on NATS.
        path: HTTP path template: ``/v1/<nouns>/{id}/<...>``, or without parameter. Empty where the command is not
            asked for over HTTP.
        body, decide: what it takes, and the rule.
        prefix: id prefix of the entity that it creates; None: it changes the entity that the path names, or the one
            that ``entity`` says. draw: makes the id from it.
        answers: member of the answer that carries the entity's id; None: the answer begins with ``ok``.
        parent: entity type of the path's parameter; ``<parent>_not_found`` when there is no such.
        unknown: another code for that 404.
        member: of paths ``/v1/<nouns>/{id}/<nouns>/{id}/<verb>``: the body's member that the second id is.
        home: of paths without parameter: the entity (type, id) in whose stream it lives, from the body; None: the
            workspace's stream. ``<type>_not_found`` when there is no such. It is read.
        opens_stream: the entity is event one of a room's stream of its own.
        entity: id of the entity, where neither drawn nor in the path: from the workspace's id and the body.
        reads: ids of further entities that ``decide`` looks up, from the body and the place. Those of another stream
            are read as they stand, and the append does not prove that they still do.
        refs: entities (type, id) that must exist in the workspace: ``<type>_not_found``.
        load: reads or draws what ``decide`` needs besides states; its result is ``command.loaded``.
        gate: the wish that the gate decides on first, from the command and the place; its decision is
            ``command.loaded``. What it does not allow is answered 200, with the decision in place of the entity's id.
        weigh: asks the gate about what the command uses, once its actor and its entity are known; its result is
            ``command.loaded``. What the gate says of it is its member ``gated``.
        by_person: whether only people may, so that in open mode it may take proof of being one; or whether they only
            may do this, from the body and who says to do it.
        acts: whether it does something, or uses an approval for it: what stops acts and what allows this one stand when
            its events are committed, of whatever stream. An approval that the gate allows it by is used with them.
        extra: further members of the answer.
        kept: the answer as an idempotency key keeps it, where it tells a secret.
        status: of the answer, where something was appended; a creation that finds its fact on record answers 200.
        internal: neither over HTTP nor in bulk nor for integrations: services alone may ask for it.
    """

    name: str
    path: str
    body: type[CommandBody]
    decide: Decide
    prefix: str | None = None
    draw: Callable[[str], str] = ids.new_id
    answers: str | None = None
    parent: str | None = None
    unknown: str | None = None
    member: str | None = None
    home: Callable[[Any], Reference | None] | None = None
    opens_stream: bool = False
    entity: Callable[[str, Any], str] | None = None
    reads: Callable[[Any, Location], tuple[str, ...]] | None = None
    refs: Callable[[Any], tuple[Reference, ...]] | None = None
    load: Load | None = None
    gate: Callable[[Command[Any], Location], Wanted] | None = None
    weigh: Weigh | None = None
    by_person: bool | Callable[[Any, Actor], bool] = False
    acts: bool = False
    extra: Extra | None = None
    kept: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    status: int = 201
    internal: bool = False

    def takes_a_person(self, body: Any, actor: Actor) -> bool:
        """Whether only people may do this."""
        return self.by_person(body, actor) if callable(self.by_person) else self.by_person

    @property
    def parameter(self) -> str | None:
        """Name of the path's parameter: ``thread_id``."""
        return f"{self.parent}_id" if self.parent else None
