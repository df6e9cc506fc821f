"""Egress rules: what may leave a workspace, to where. Only people set and remove them; anybody may propose one.

All rules of a workspace are one entity, so that whoever decides on something reads one. A rule is known by what it
covers: setting it again, with another effect or other limits, replaces it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentos_shared.domain import ids
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.capabilities import Instant, moment
from agentos_shared.domain.decider import Command, CommandBody, Meta, View, expect_version
from agentos_shared.domain.egress_match import (
    EgressRule,
    RateLimit,
    RuleEffect,
    RuleMode,
    host_pattern,
    openable,
    path_pattern,
)
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Forbidden, Invalid, NotFound

#: Rules of a workspace: bounds the state, and what a decision looks at.
MAX_RULES: Final = 1_000
MAX_BYTES: Final = 1 << 50
MAX_NOTE: Final = 2_000
#: Members by which a rule is known.
_COVERS: Final = ("host", "methods", "path", "port", "principal", "room_id", "zones")
Id = Annotated[str, Field(min_length=1, max_length=200)]
Method = Annotated[str, Field(pattern=r"^[A-Z][A-Z-]{0,31}$", examples=["POST"])]


class Rate(BaseModel):
    """So many requests in so many seconds, of each principal or of the whole workspace, and ``burst`` (by default
    ``requests``) of them at once."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    requests: int = Field(ge=1, le=1_000_000)
    per_s: int = Field(ge=1, le=31 * 86_400)
    burst: int | None = Field(None, ge=1, le=1_000_000)
    per: Literal["principal", "workspace"] = "principal"

    def limit(self) -> RateLimit:
        """As decisions see it."""
        return RateLimit(self.requests, self.per_s, self.burst or self.requests, self.per)


class RuleBody(BaseModel):
    """An egress rule. It covers requests to ``host`` (a name, an address, ``*.example.org`` or ``*``); each further
    member narrows it. A rule that allows and names no ``methods`` allows reads (GET, HEAD, OPTIONS); ``CONNECT`` is a
    tunnel, through which anything may go. In ``path``, ``*`` stands for anything within a segment and ``**`` for
    anything. ``private`` opens a host on this machine or in a private network, and needs a ``port``; a name needs the
    ``networks`` that it may lead to (10.0.0.0/8) besides.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    host: Annotated[str, Field(min_length=1, max_length=300)]
    effect: RuleEffect = "allow"
    methods: list[Method] | None = Field(None, min_length=1, max_length=20)
    path: str | None = Field(None, min_length=1, max_length=1000)
    port: int | None = Field(None, ge=1, le=65535)
    principal: Id | None = None
    room_id: Id | None = None
    zones: list[Zone] | None = Field(None, min_length=1, max_length=3)
    mode: RuleMode = "enforce"
    private: bool = False
    networks: list[str] | None = Field(None, min_length=1, max_length=20)
    rate: Rate | None = None
    request_bytes: int | None = Field(None, ge=0, le=MAX_BYTES)
    response_bytes: int | None = Field(None, ge=0, le=MAX_BYTES)
    expires_at: Instant | None = None
    note: str | None = Field(None, max_length=MAX_NOTE)


class SetEgressRule(RuleBody, CommandBody):
    """Puts an egress rule in force, or replaces the one that covers just the same. Only people may."""


class RemoveEgressRule(CommandBody):
    """Ends an egress rule at once. Only people may. ``rule_id`` is required."""

    rule_id: Id
    reason: str | None = Field(None, max_length=MAX_NOTE)


@dataclass(frozen=True, slots=True)
class EgressRules:
    """The rules of one workspace, by id. Those whose time is over stay until they are removed or replaced."""

    workspace_id: str
    rules: Mapping[str, EgressRule] = field(default_factory=dict)
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def rules_id(workspace_id: str) -> str:
    """The id of a workspace's rules."""
    return ids.derived_id(ids.EGRESS_RULES, workspace_id)


def rule_of(body: RuleBody) -> dict[str, Any]:
    """A rule as it is kept in events.

    Raises:
        Invalid: ``invalid_host``, ``invalid_path``, ``invalid_private``, ``invalid_networks``.
    """
    told = body.model_dump(include=set(RuleBody.model_fields))
    told["host"] = _made("invalid_host", "host", host_pattern, body.host)
    if body.path is not None:
        told["path"] = _made("invalid_path", "path", path_pattern, body.path)
    for name in ("methods", "zones"):
        told[name] = None if told[name] is None else sorted(set(told[name]))
    if body.rate is not None:
        told["rate"] = body.rate.limit()._asdict()
    _check_opening(body, told)
    return told


def _check_opening(body: RuleBody, told: dict[str, Any]) -> None:
    host = told["host"]
    if not body.private:
        if body.networks is not None:
            raise Invalid("invalid_networks", "networks goes with private.")
        return
    if body.effect != "allow" or body.port is None or host.startswith("*"):
        raise Invalid("invalid_private", "private goes with the effect allow, one host without *, and a port.")
    if body.networks is not None:
        told["networks"] = [_made("invalid_networks", "networks", openable, text) for text in body.networks]
    elif ":" in host or host.replace(".", "").isdigit():
        _made("invalid_private", "host", openable, host)
    elif host != "localhost":
        raise Invalid("invalid_networks", "A name is opened together with the networks that it may lead to.")


def rule_id_of(workspace_id: str, told: Mapping[str, Any]) -> str:
    """The id of a rule: the same for the same requests, always."""
    covers = canonical({name: told[name] for name in _COVERS}).decode()
    return ids.derived_hex(ids.EGRESS_RULE, workspace_id, covers)


def set_rule(command: Command[SetEgressRule], view: View) -> list[NewEvent]:
    """``egress.rule.set``, or nothing when it is in force just so. ``command.loaded`` is the time.

    Raises:
        Invalid: as :func:`rule_of`, ``invalid_expires_at``. Forbidden: ``rule_setter_must_be_user``.
        Conflict: ``egress_rule_limit``.
    """
    require_person(command.meta)
    told = rule_of(command.body)
    if told["expires_at"] is not None and moment(told["expires_at"]) <= command.loaded:
        raise Invalid("invalid_expires_at", "expires_at must be in the future.")
    expect_version(command, view)
    return setting(told, command.meta, view, None)


def setting(told: Mapping[str, Any], meta: Meta, view: View, approval_id: str | None) -> list[NewEvent]:
    """The event that puts a rule in force, if it is not.

    Args:
        approval_id: the approval of the proposal that it comes from.

    Raises:
        Conflict: ``egress_rule_limit``.
    """
    known = view.get(EgressRules, rules_id(meta.workspace_id)) or EgressRules(meta.workspace_id)
    rule_id = rule_id_of(meta.workspace_id, told)
    if known.told.get(rule_id) == told:
        return []
    if rule_id not in known.rules and len(known.rules) >= MAX_RULES:
        raise Conflict("egress_rule_limit", f"A workspace has at most {MAX_RULES} egress rules; remove some.")
    return [event_of(meta, "egress.rule.set", {"rule_id": rule_id, **told, "approval_id": approval_id})]


def remove(command: Command[RemoveEgressRule], view: View) -> list[NewEvent]:
    """``egress.rule.removed``.

    Raises:
        NotFound: ``egress_rule_not_found``. Forbidden: ``rule_setter_must_be_user``.
    """
    require_person(command.meta)
    known = view.get(EgressRules, command.entity_id)
    if known is None or command.body.rule_id not in known.rules:
        raise NotFound("egress_rule_not_found", "There is no such egress rule in this workspace.")
    expect_version(command, view)
    data = {"rule_id": command.body.rule_id, "reason": command.body.reason}
    return [event_of(command.meta, "egress.rule.removed", data)]


def evolve(state: EgressRules | None, event: Event) -> EgressRules | None:
    """Fold one event of a workspace's rules."""
    known = state or EgressRules(event.workspace_id)
    data = event.data
    match event.event_type:
        case "egress.rule.set":
            told = {name: data[name] for name in RuleBody.model_fields}
            rule_id = data["rule_id"]
            return replace(
                known,
                rules={**known.rules, rule_id: as_decided(rule_id, told)},
                told={**known.told, rule_id: told},
            )
        case "egress.rule.removed":
            gone = data["rule_id"]
            return replace(
                known,
                rules={name: rule for name, rule in known.rules.items() if name != gone},
                told={name: told for name, told in known.told.items() if name != gone},
            )
    return state


def as_decided(rule_id: str, told: Mapping[str, Any]) -> EgressRule:
    """A rule of events as decisions see it."""
    return EgressRule(
        rule_id,
        told["effect"],
        told["host"],
        methods=None if told["methods"] is None else tuple(told["methods"]),
        path=told["path"],
        port=told["port"],
        principal=told["principal"],
        room_id=told["room_id"],
        zones=None if told["zones"] is None else tuple(told["zones"]),
        mode=told["mode"],
        private=told["private"],
        networks=tuple(told["networks"] or ()),
        rate=None if told["rate"] is None else RateLimit(**told["rate"]),
        request_bytes=told["request_bytes"],
        response_bytes=told["response_bytes"],
        expires_at=None if told["expires_at"] is None else moment(told["expires_at"]),
    )


def require_person(meta: Meta) -> None:
    """Raises Forbidden ``rule_setter_must_be_user``."""
    if meta.engine is not None or meta.actor.type != "user":
        raise Forbidden(
            "rule_setter_must_be_user",
            "Only a person sets and removes egress rules; propose one: POST /v1/egress/proposals.",
        )


def event_of(meta: Meta, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    """An event of a workspace's rules."""
    return NewEvent(
        event_type=event_type,
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="egress_rule",
        entity_id=rules_id(meta.workspace_id),
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data=data,
    )


def _made(code: str, member: str, make: Any, text: str) -> str:
    try:
        made: str = make(text)
    except ValueError as error:
        raise Invalid(code, f"{member}: {error}.") from None
    return made
