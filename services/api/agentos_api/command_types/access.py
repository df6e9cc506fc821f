"""The command behind AuthZEN's questions: what they mean to the gate."""

from collections.abc import Mapping
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Wanted
from agentos_api.command_types.policy import TOOL_CALL, answer_of, home_of, named_of, room_of
from agentos_shared.domain import ids, principals
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.decider import Command
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.policy import records
from agentos_shared.domain.policy.access import EvaluateAccess
from agentos_shared.domain.policy.evaluate import DATA_ACTIONS
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.resource_labels import resource_of


def _wish(command: Command[EvaluateAccess], _home: Location) -> Wanted:
    body, meta = command.body, command.meta
    if None not in (body.room_id, command.room_id) and body.room_id != command.room_id:
        raise Invalid("run_room_mismatch", "The run or thread is of another room than room_id.")
    subject = _subject(command)
    about = _about(body)
    action = about["action"]
    request = Request(
        workspace_id=meta.workspace_id,
        actor=subject,
        digest=action_digest(meta.workspace_id, action, subject, command.room_id, body.run_id, about["context"]),
        principal_id=body.principal_id,
        capability_token_id=body.capability_token_id,
        room_id=command.room_id,
        thread_id=body.thread_id,
        run_id=body.run_id,
        step_id=body.step_id,
        justification=body.justification,
        **about,
    )
    return request, body.zone


def _subject(command: Command[EvaluateAccess]) -> Actor:
    """Whom it is about: whoever asks, or somebody whom a person asks about."""
    body, asks = command.body, command.meta.actor
    if (asks.type, asks.id) == (body.subject_type, body.subject_id):
        return asks
    return principals.actor(command.meta.workspace_id, body.subject_type, body.subject_id)


def _about(body: EvaluateAccess) -> Mapping[str, Any]:
    """What it is, and what with; a tool call and access to data as those who do it put it to the gate."""
    action = normalised(body.action or "")
    kind, name = body.resource_type, body.resource_id
    context: dict[str, Any]
    if kind == "tool":
        if action != TOOL_CALL:
            raise Invalid("invalid_action", f"A tool's action is {TOOL_CALL}.")
        context = {"tool_name": name, "input": body.parameters}
        return {"category": "tool_call", "action": action, "tool_name": name, "resource": name, "context": context}
    if action in DATA_ACTIONS:
        resource = resource_of(kind, name)
        tags = tuple(dict.fromkeys(body.purpose_tags))
        context = {"resource": resource, "purpose_tags": list(tags), **body.context}
        return {
            "category": "data_access",
            "action": action,
            "resource": resource,
            "purpose_tags": tags,
            "context": context,
        }
    context = {**body.context, **body.parameters}
    if kind is None:
        return {"category": "action", "action": action, "context": context}
    context = {**context, "resource": f"{kind}/{name}"}
    if kind == "host":
        wanted = {"category": "egress", "action": action, "egress_host": name, "resource": name, "context": context}
        return {**wanted, **_sent(context)}
    return {"category": "action", "action": action, "resource": name, "context": context}


def _sent(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a request to a host the caller tells; rules take what is not told for anything."""
    method, port, path = (context.get(name) for name in ("method", "port", "path"))
    return {
        "egress_method": method.upper() if isinstance(method, str) else None,
        "egress_port": port if type(port) is int and 0 < port < 65_536 else None,
        "egress_path": path if isinstance(path, str) else None,
    }


#: Asked for through AuthZEN's own paths (``authzen.py``).
ACCESS: Final = (
    CommandType(
        name="access.decide",
        path="",
        body=EvaluateAccess,
        decide=records.evaluate,
        prefix=ids.DECISION,
        answers="decision_id",
        home=home_of,
        refs=named_of,
        reads=room_of,
        gate=_wish,
        extra=answer_of,
        status=200,
        internal=True,
    ),
)
