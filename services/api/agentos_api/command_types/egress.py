"""Commands of requests that leave the machine. Asking is a call (``egress_desk.py``): it ends with the answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reader, Reference, Wanted
from agentos_shared.domain import egress, ids
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.egress import EgressRequest
from agentos_shared.domain.egress_bodies import (
    FinishEgress,
    ReconcileEgress,
    RefuseEgress,
    RequestEgress,
    RequestProxied,
    SendEgress,
)
from agentos_shared.domain.egress_match import TUNNEL
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.domain.targets import BadTarget, Target, parse, parse_authority
from agentos_shared.store.reader import read_entities

REQUEST: Final = "egress.request"


def target_of(body: RequestEgress) -> Target:
    """Where it goes. Raises Invalid: ``invalid_target_url``."""
    try:
        return (parse_authority if body.verb == TUNNEL else parse)(body.target_url or "")
    except BadTarget as error:
        raise Invalid("invalid_target_url", f"target_url cannot be taken: {error.detail}.") from None


def _home(body: RequestEgress) -> Reference | None:
    for kind, entity_id in (("run", body.run_id), ("room", body.room_id)):
        if entity_id is not None:
            return kind, entity_id
    return None


def _named(body: RequestEgress) -> tuple[Reference, ...]:
    named = (("room", body.room_id), ("step", body.step_id))
    return tuple((kind, entity_id) for kind, entity_id in named if entity_id is not None)


def _room(_body: RequestEgress, home: Location) -> tuple[str, ...]:
    return (home.stream.id,) if home.stream.type == "room" else ()


def _wish(command: Command[RequestEgress], _home: Location) -> Wanted:
    body, meta = command.body, command.meta
    if None not in (body.room_id, command.room_id) and body.room_id != command.room_id:
        raise Invalid("run_room_mismatch", "The run is of another room than room_id.")
    target, action = target_of(body), normalised(body.action)
    body.checked_headers()
    parameters = {"method": body.verb, "url": target.url, "body_sha256": body.body_sha256}
    wish = egress.wish_of(
        meta.workspace_id,
        meta.actor,
        action=action,
        method=body.verb,
        url=target.url,
        host=target.host,
        port=target.port,
        path=None if body.verb == TUNNEL else target.path,
        digest=action_digest(meta.workspace_id, action, meta.actor, command.room_id, body.run_id, parameters),
        body_sha256=parameters["body_sha256"],
        context=body.context,
        principal_id=body.principal_id,
        capability_token_id=body.capability_token_id,
        room_id=command.room_id,
        run_id=body.run_id,
        step_id=body.step_id,
    )
    return wish, body.zone


async def stored(reader: Reader, request_id: str) -> EgressRequest:
    """A request as it stands. Raises NotFound: ``egress_request_not_found``."""
    async with reader.pool.acquire() as connection:
        events = (await read_entities(connection, [request_id]))[request_id]
    state: EgressRequest | None = None
    for event in events:
        state = egress.evolve(state, event)
    if state is None:
        raise NotFound("egress_request_not_found", "There is no such request in this workspace.")
    return state


async def _wished(reader: Reader, location: Location, _body: SendEgress) -> EgressRequest:
    """What was wished for, from the store and nobody's word: it never changes."""
    return await stored(reader, location.entity_id)


def _wish_again(command: Command[SendEgress], _home: Location) -> Wanted:
    state: EgressRequest = command.loaded
    return state.wish, state.asked_zone


def _asked(command: Command[RequestEgress], events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    """What whoever asked is told, and what the desk needs to go on."""
    gated = command.loaded
    return {"decided": decided(command, events), "passing": gated.refused and gated.passing}


def _proxied(command: Command[RequestProxied], events: Sequence[Event], view: View) -> Mapping[str, Any]:
    """What the proxy needs besides: as whom, and where, it may ask about the request again while it lasts."""
    wish = command.loaded.request
    place = {"room_id": wish.room_id, "run_id": wish.run_id, "step_id": wish.step_id}
    return {**_asked(command, events, view), "actor": list(wish.actor), "place": place}


def decided(command: Command[Any], events: Sequence[Event]) -> dict[str, Any]:
    """A decision on a request as it is told."""
    told: dict[str, Any] = dict(command.loaded.answer())
    blocked = next((event.data for event in events if event.event_type == "egress.blocked"), None)
    if blocked is not None:
        told["approval_id"] = blocked["approval_id"]
    return told


def _sent(command: Command[SendEgress], events: Sequence[Event], view: View) -> Mapping[str, Any]:
    """Whether it may go out now, how often it has been tried, and what must be done besides."""
    state = view.get(EgressRequest, command.entity_id)
    sent = state is not None and state.status == "sent" and state.sender == command.body.sender
    return {"sent": sent, "attempt": 0 if state is None else state.attempt, "decided": decided(command, events)}


EGRESS: Final = (
    CommandType(
        name=REQUEST,
        path="",
        body=RequestEgress,
        decide=egress.request,
        prefix=ids.EGRESS_REQUEST,
        draw=ids.new_hex,
        answers="egress_request_id",
        home=_home,
        refs=_named,
        reads=_room,
        gate=_wish,
        extra=_asked,
        internal=True,
    ),
    CommandType(
        name="egress.proxy",
        path="",
        body=RequestProxied,
        decide=egress.request,
        prefix=ids.EGRESS_REQUEST,
        draw=ids.new_hex,
        answers="egress_request_id",
        home=_home,
        refs=_named,
        reads=_room,
        gate=_wish,
        extra=_proxied,
        internal=True,
    ),
    CommandType(
        name="egress.send",
        path="",
        body=SendEgress,
        decide=egress.send,
        parent="egress_request",
        load=_wished,
        gate=_wish_again,
        acts=True,
        extra=_sent,
        internal=True,
    ),
    CommandType(
        name="egress.refuse",
        path="",
        body=RefuseEgress,
        decide=egress.refuse,
        parent="egress_request",
        internal=True,
    ),
    CommandType(
        name="egress.finish",
        path="",
        body=FinishEgress,
        decide=egress.finish,
        parent="egress_request",
        internal=True,
    ),
    CommandType(
        name="egress.reconcile",
        path="/v1/egress/requests/{egress_request_id}/reconcile",
        body=ReconcileEgress,
        decide=egress.reconcile,
        parent="egress_request",
        by_person=True,
        status=200,
    ),
)
