"""Cedar policies of an installation: checked as a whole before they are taken, parsed once, and cut to what can match.

Imported only where there are such policies.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

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
MAX_ENTITIES: Final = 5_000

K = TypeVar("K")
V = TypeVar("V")


class BrokenBundle(Exception):
    """Policies that cannot be taken, and why."""


class _Slice(NamedTuple):
    """The policies that can match some requests: those that permit and deny, and those that ask.

    Args:
        sees: the members of the context that any of them looks at.
    """

    rules: cedarpy.PolicySet
    asks: cedarpy.PolicySet | None
    sees: tuple[str, ...]


#: What a slice is cut by: action, category, and the types of the resource and of whoever asks.
_Key: TypeAlias = tuple[str, str, str, str]
#: That; the workspace, who asks, as which principal, and whether in quarantine; the resource's id.
_About: TypeAlias = tuple[_Key, tuple[str, str, str, bool], str]


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
        self._entities: OrderedDict[_About, cedarpy.Entities] = OrderedDict()
        self._judged: OrderedDict[tuple[_About, tuple[object, ...]], Judgement] = OrderedDict()

    def __len__(self) -> int:
        return len(self._policies)

    def rules(self) -> dict[str, str]:
        """The text of each policy, as Cedar writes it, by id."""
        return {name: _text(policy) for name, policy in self._policies.items()}

    def judge(self, request: Request, facts: Facts) -> Judgement:
        """What the policies say of a request. Whatever goes wrong is an error, which denies."""
        principal = _PRINCIPALS[request.actor.type]
        resource, resource_id = _resource(request)
        quarantined = facts.agent is not None and facts.agent.quarantined
        cut_by = request.action, request.category, resource, principal
        who = request.workspace_id, request.actor.id, request.principal_id or request.actor.principal_id, quarantined
        about = cut_by, who, resource_id
        try:
            cut = self._slices.get(cut_by) or self._slice(cut_by)
            seen = tuple([SEEN[name](request, facts) for name in cut.sees])
            judged = self._judged.get((about, seen))
            if judged is None:
                judged = self._judge(cut, about, dict(zip(cut.sees, seen, strict=True)))
                _keep(self._judged, (about, seen), judged, MAX_JUDGED)
        except Exception as error:
            return Judgement(permitted=False, errors=(f"{type(error).__name__}: {error}"[:300],))
        return judged

    def _judge(self, cut: _Slice, about: _About, seen: Mapping[str, Any]) -> Judgement:
        (action, _, resource, principal), (_, actor_id, _, _), resource_id = about
        entities = self._entities.get(about)
        if entities is None:
            entities = cedarpy.Entities.from_json_str(_entities(about))
            _keep(self._entities, about, entities, MAX_ENTITIES)
        question = {
            "principal": {"type": principal, "id": actor_id},
            "action": {"type": "Action", "id": action},
            "resource": {"type": resource, "id": resource_id},
            "context": orjson.dumps({name: value for name, value in seen.items() if value is not None}).decode(),
        }
        answer = cedarpy.is_authorized(question, cut.rules, entities)
        asked = None if cut.asks is None else cedarpy.is_authorized(question, cut.asks, entities)
        errors = (*answer.diagnostics.errors, *(() if asked is None else asked.diagnostics.errors))
        denies = () if answer.allowed else tuple(sorted(answer.diagnostics.reasons))
        requires = () if asked is None else tuple(sorted(asked.diagnostics.reasons))
        return Judgement(bool(answer.allowed) or bool(denies), denies, requires, tuple(map(str, errors)))

    def _slice(self, key: _Key) -> _Slice:
        found = {name: policy for name, policy in self._policies.items() if _may_match(policy, key)}
        asks = {name: policy for name, policy in found.items() if _asks(policy)}
        rules = {name: policy for name, policy in found.items() if name not in asks}
        cut = _Slice(_parsed(rules), _parsed(asks) if asks else None, _sees(found.values()))
        _keep(self._slices, key, cut, MAX_SLICES)
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


#: Members of the context, as policies see them.
SEEN: Final[Mapping[str, Callable[[Request, Facts], Any]]] = {
    "workspace": lambda request, _: request.workspace_id,
    "category": lambda request, _: request.category,
    "zone": lambda request, _: request.zone,
    "external": leaves_the_machine,
    "room": lambda request, _: request.room_id,
    "run": lambda request, _: request.run_id,
    "tool": lambda request, _: request.tool_name,
    "host": lambda request, _: request.egress_host,
    "method": lambda request, _: request.egress_method,
    "port": lambda request, _: request.egress_port,
    "path": lambda request, _: request.egress_path,
    "label": lambda request, facts: facts.label.label if request.category == "data_access" else None,
    "purposes": lambda request, _: request.purpose_tags,
    "resource": lambda request, _: request.resource,
}


def _sees(policies: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The members of the context that these policies look at: what else it holds cannot change what they say. All of
    them where one does anything else with it than to ask for a member.
    """
    seen = {name for policy in policies for name in _looked_at(policy.get("conditions"))}
    return tuple(SEEN) if _ALL in seen else tuple(name for name in SEEN if name in seen)


_ALL: Final = "*"


def _looked_at(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _looked_at(part)
    elif isinstance(node, dict):
        if node.get("Var") == "context":
            yield _ALL
        for operator, part in node.items():
            if operator in (".", "has") and part["left"] == {"Var": "context"} and isinstance(part.get("attr"), str):
                yield part["attr"]
            else:
                yield from _looked_at(part)


def _keep(kept: "OrderedDict[K, V]", key: K, value: V, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)


def _entities(about: _About) -> str:
    """Who asks, for what, to what, as JSON."""
    (action, category, resource, principal), (workspace_id, actor_id, principal_id, quarantined), resource_id = about
    workspace = {"type": "Workspace", "id": workspace_id}
    attributes: dict[str, Any] = {"principal": principal_id}
    if principal == "Agent":
        attributes["quarantined"] = quarantined
    entities: list[dict[str, Any]] = [
        {"uid": {"type": principal, "id": actor_id}, "attrs": attributes, "parents": []},
        {"uid": workspace, "attrs": {}, "parents": []},
    ]
    if action != category:
        group = {"type": "Action", "id": category}
        entities.append({"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": [group]})
    if resource != "Workspace":
        entities.append({"uid": {"type": resource, "id": resource_id}, "attrs": {}, "parents": [workspace]})
    return orjson.dumps(entities).decode()
