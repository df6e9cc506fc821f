"""Cedar policies of an installation: checked as a whole before they are taken, parsed once, and cut to what can match.

Imported only where there are such policies.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

import cedarpy
import orjson

from agentos_shared.domain.policy.evaluate import Judgement, leaves_the_machine
from agentos_shared.domain.policy.facts import Facts, Request

SCHEMA: Final = files("agentos_policy").joinpath("bundle", "agentos.cedarschema").read_text(encoding="utf-8")
CATEGORIES: Final = ("action", "tool_call", "data_access", "egress")
_APPLIES: Final = (
    "appliesTo { principal: [User, Service, Agent], resource: [Workspace, Room, Tool, Host, Data], context: Context }"
)
#: Value of the annotation ``@effect`` of a forbid that asks for an approval in place of denying.
ASKS: Final = "require_approval"
_PRINCIPALS: Final = {"user": "User", "service": "Service", "agent": "Agent"}
MAX_POLICIES: Final = 5_000
MAX_SLICES: Final = 1_000
MAX_JUDGED: Final = 20_000


class BrokenBundle(Exception):
    """Policies that cannot be taken, and why."""


class _Slice(NamedTuple):
    """The policies that can match some requests: those that permit and deny, and those that ask."""

    rules: cedarpy.PolicySet
    asks: cedarpy.PolicySet | None


_Key = tuple[str, str, str, str]


class Bundle:
    """Policies in force.

    Args:
        texts: Cedar, by file name.
        digest: of them.

    Raises:
        BrokenBundle: they do not parse, do not fit the schema, or cannot be told apart.
    """

    def __init__(self, texts: Mapping[str, str], digest: str) -> None:
        self.hash = digest
        self._policies: dict[str, dict[str, Any]] = {}
        for name, text in sorted(texts.items()):
            self._take(name, text)
        if len(self._policies) > MAX_POLICIES:
            raise BrokenBundle(f"{len(self._policies)} policies; at most {MAX_POLICIES} can be held")
        _check(texts, self._policies)
        self._slices: OrderedDict[_Key, _Slice] = OrderedDict()
        self._judged: OrderedDict[tuple[object, ...], Judgement] = OrderedDict()

    def __len__(self) -> int:
        return len(self._policies)

    def rules(self) -> dict[str, str]:
        """The text of each policy, as Cedar writes it, by id."""
        return {name: _text(policy) for name, policy in self._policies.items()}

    def judge(self, request: Request, facts: Facts) -> Judgement:
        """What the policies say of a request. Whatever goes wrong is an error, which denies."""
        asked = _asked(request, facts)
        judged = self._judged.get(asked)
        if judged is None:
            try:
                judged = self._judge(request, facts)
            except Exception as error:
                return Judgement(permitted=False, errors=(f"{type(error).__name__}: {error}"[:300],))
            self._judged[asked] = judged
            if len(self._judged) > MAX_JUDGED:
                self._judged.popitem(last=False)
        return judged

    def _judge(self, request: Request, facts: Facts) -> Judgement:
        principal = _PRINCIPALS[request.actor.type]
        resource, resource_id = _resource(request)
        cut = self._slice((request.action, request.category, resource, principal))
        question = {
            "principal": {"type": principal, "id": request.actor.id},
            "action": {"type": "Action", "id": request.action},
            "resource": {"type": resource, "id": resource_id},
            "context": _context(request, facts),
        }
        entities = _entities(request, facts, principal, resource, resource_id)
        answer = cedarpy.is_authorized(question, cut.rules, entities)
        asked = None if cut.asks is None else cedarpy.is_authorized(question, cut.asks, entities)
        errors = (*answer.diagnostics.errors, *(() if asked is None else asked.diagnostics.errors))
        denies = () if answer.allowed else tuple(sorted(answer.diagnostics.reasons))
        requires = () if asked is None else tuple(sorted(asked.diagnostics.reasons))
        return Judgement(bool(answer.allowed) or bool(denies), denies, requires, tuple(map(str, errors)))

    def _slice(self, key: _Key) -> _Slice:
        cut = self._slices.get(key)
        if cut is None:
            found = {name: policy for name, policy in self._policies.items() if _may_match(policy, key)}
            asks = {name: policy for name, policy in found.items() if _asks(policy)}
            rules = {name: policy for name, policy in found.items() if name not in asks}
            cut = self._slices[key] = _Slice(_parsed(rules), _parsed(asks) if asks else None)
            if len(self._slices) > MAX_SLICES:
                self._slices.popitem(last=False)
        return cut

    def _take(self, name: str, text: str) -> None:
        try:
            parsed = json.loads(cedarpy.policies_to_json_str(text))
        except ValueError as error:
            raise BrokenBundle(f"{name}: {error}") from error
        if parsed.get("templates") or parsed.get("templateLinks"):
            raise BrokenBundle(f"{name}: templates are not taken; write each policy out")
        for number, policy in enumerate(parsed["staticPolicies"].values(), start=1):
            annotations = policy.get("annotations") or {}
            policy_id = annotations.get("id") or f"{name}:{number}"
            if policy_id in self._policies:
                raise BrokenBundle(f"{name}: two policies have the id {policy_id}")
            effect = annotations.get("effect")
            if effect is not None and (effect != ASKS or policy["effect"] != "forbid"):
                raise BrokenBundle(f'{name}: {policy_id}: @effect("{ASKS}") of a forbid is all that there is')
            self._policies[policy_id] = policy


def _check(texts: Mapping[str, str], policies: Mapping[str, dict[str, Any]]) -> None:
    named = sorted({entity["id"] for policy in policies.values() for entity in _actions(policy)} - set(CATEGORIES))
    # One that a bundle names may be of any category.
    lines = [f"action {', '.join(json.dumps(category) for category in CATEGORIES)} {_APPLIES};"]
    lines += [f"action {json.dumps(name)} in [{', '.join(map(json.dumps, CATEGORIES))}] {_APPLIES};" for name in named]
    schema = SCHEMA + "\n".join(lines)
    for name, text in sorted(texts.items()):
        result = cedarpy.validate_policies(text, schema)
        if not result.validation_passed:
            raise BrokenBundle(f"{name}: " + "; ".join(error.error for error in result.errors)[:2000])


def _parsed(policies: Mapping[str, dict[str, Any]]) -> cedarpy.PolicySet:
    document = {"staticPolicies": dict(policies), "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(document))


def _text(policy: Mapping[str, Any]) -> str:
    document = {"staticPolicies": {"policy": policy}, "templates": {}, "templateLinks": []}
    return str(cedarpy.policies_from_json_str(json.dumps(document)).strip())


def _asks(policy: Mapping[str, Any]) -> bool:
    return (policy.get("annotations") or {}).get("effect") == ASKS


def _actions(policy: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """The actions that a policy's head names."""
    head = policy["action"]
    if "entity" in head:
        return [head["entity"]]
    named: Sequence[Mapping[str, str]] = head.get("entities", ())
    return named


def _may_match(policy: Mapping[str, Any], key: _Key) -> bool:
    action, category, resource, principal = key
    head = policy["action"]
    if head["op"] != "All":
        mine = {action} if head["op"] == "==" else {action, category}
        if not any(entity["id"] in mine for entity in _actions(policy)):
            return False
    return _is_type(policy["resource"], resource) and _is_type(policy["principal"], principal)


def _is_type(head: Mapping[str, Any], entity_type: str) -> bool:
    """Whether what a head says of the type leaves this one in. What something is in may be of another type."""
    if head["op"] == "is":
        return bool(head["entity_type"] == entity_type)
    return head["op"] != "==" or "entity" not in head or bool(head["entity"]["type"] == entity_type)


def _resource(request: Request) -> tuple[str, str]:
    """What it is done to, as policies name it: a tool, a host, data, else the room, or the workspace."""
    if request.category == "tool_call":
        return "Tool", request.tool_name or ""
    if request.category == "egress":
        return "Host", request.egress_host or ""
    if request.category == "data_access":
        return "Data", request.resource or ""
    return ("Room", request.room_id) if request.room_id is not None else ("Workspace", request.workspace_id)


def _asked(request: Request, facts: Facts) -> tuple[object, ...]:
    """All that policies see of a request: the same again is judged the same."""
    return (
        request.workspace_id,
        request.category,
        request.action,
        request.actor,
        request.principal_id,
        request.zone,
        request.room_id,
        request.run_id,
        request.tool_name,
        request.egress_host,
        request.egress_method,
        request.egress_port,
        request.egress_path,
        request.resource,
        request.purpose_tags,
        facts.label.label,
        leaves_the_machine(request, facts),
        facts.agent is not None and facts.agent.quarantined,
    )


def _context(request: Request, facts: Facts) -> dict[str, Any]:
    told = {
        "workspace": request.workspace_id,
        "category": request.category,
        "zone": request.zone,
        "external": leaves_the_machine(request, facts),
        "room": request.room_id,
        "run": request.run_id,
        "tool": request.tool_name,
        "host": request.egress_host,
        "method": request.egress_method,
        "port": request.egress_port,
        "path": request.egress_path,
        "label": facts.label.label if request.category == "data_access" else None,
        "purposes": list(request.purpose_tags),
        "resource": request.resource,
    }
    return {name: value for name, value in told.items() if value is not None}


def _entities(request: Request, facts: Facts, principal: str, resource: str, resource_id: str) -> str:
    """Who asks, for what, to what, as JSON (handed over as objects it would take a third longer)."""
    workspace = {"type": "Workspace", "id": request.workspace_id}
    about: dict[str, Any] = {"principal": request.principal_id or request.actor.principal_id}
    if principal == "Agent":
        about["quarantined"] = facts.agent is not None and facts.agent.quarantined
    entities: list[dict[str, Any]] = [
        {"uid": {"type": principal, "id": request.actor.id}, "attrs": about, "parents": []},
        {"uid": workspace, "attrs": {}, "parents": []},
    ]
    if request.action != request.category:
        group = {"type": "Action", "id": request.category}
        entities.append({"uid": {"type": "Action", "id": request.action}, "attrs": {}, "parents": [group]})
    if resource != "Workspace":
        entities.append({"uid": {"type": resource, "id": resource_id}, "attrs": {}, "parents": [workspace]})
    return orjson.dumps(entities).decode()
