"""The OpenAPI document: FastAPI's own for the reads, and the commands and streams that the edge serves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from agentos_api.command_type import CommandType
from agentos_api.commands import MAX_BULK
from agentos_api.http import examples, stream_frames
from agentos_api.http.access import SESSION_COOKIE
from agentos_api.http.calls import Call
from agentos_api.http.problem import Problem

_KEY: Final = r"^[\x20-\x7e]{1,255}$"
_REF: Final = "#/components/schemas/{model}"

#: Status codes that any write may answer, with what they mean.
_WRITE_PROBLEMS: Final[Mapping[int, str]] = {
    400: "Malformed, missing or out of range.",
    401: "No credential, or one that is not valid.",
    403: "This Host or Origin may not write here.",
    404: "What the path or the body names does not exist in this workspace.",
    405: "Only POST is allowed here.",
    409: "Contradicts the present state.",
    408: "The body came too slowly.",
    413: "The body or the event is too large.",
    415: "The body must be application/json.",
    422: "The idempotency key came with another body before.",
    431: "The headers are too large.",
    503: "Try again: the store cannot be reached, or too many writes wait.",
    507: "The disk is nearly full: only reads are served.",
}
_SECURITY: Final[Mapping[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Needed where AGENTOS_AUTH=enforced."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "Of the local user's browser.",
    },
}
#: Tags of nouns whose plural takes more than an s.
_TAGS: Final[Mapping[str, str]] = {
    "access": "policy",
    "capability": "capabilities",
    "data_access": "data_access",
    "kill_switch": "kill_switches",
    "egress": "egress",
    "egress_rule": "egress_rules",
    "policy": "policy",
    "resource_label": "data_access",
    "engine_evidence": "engines",
    "evidence": "evidence",
    "tool": "tool_calls",
}
_LIST: Final[Mapping[str, Any]] = {"type": "array", "items": {"type": "string"}}
#: What the gate says, as :meth:`agentos_shared.domain.policy.records.Gated.answer` tells it.
_DECISION: Final[Mapping[str, Any]] = {
    "decision_id": {"type": "string", "examples": ["dec_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"]},
    "decision": {"enum": ["allow", "deny", "require_approval"]},
    "reason_code": {"type": "string", "examples": ["external_write_requires_approval"]},
    "reason": {"type": "string", "description": "For people; absent where it is allowed."},
    "reason_codes": _LIST,
    "next_steps": _LIST,
    "determining_rules": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "rule_id": {"type": "string"},
                "effect": {"enum": ["allow", "deny", "require_approval"]},
                "source": {"enum": ["built_in", "file", "learned", "grant", "rule"]},
            },
        },
    },
    "obligations": {"type": "array", "items": {"type": "object"}, "examples": [[]]},
    "action_digest": {"type": "string", "description": "Of exactly this; an approval `once` is bound to it."},
    "policy_bundle_hash": {"type": "string"},
    "approval_id": {"type": ["string", "null"], "description": "The approval that allows it.", "examples": [None]},
    "zone": {"enum": ["sandbox", "supervised", "high_stakes"]},
    "risk": {"type": ["integer", "null"], "minimum": 0, "maximum": 100, "examples": [10]},
    "risk_factors": {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "examples": [{"zone_supervised": 10}],
    },
    "valid_until": {
        "type": ["string", "null"],
        "description": "When the approval or the capability that it rests on ends.",
        "examples": [None],
    },
    "context_digest": {"type": ["string", "null"], "examples": ["sha256:" + "5e" * 32]},
    "enforcement_grade": {"enum": ["structural", "network", "host_enforced", "observe_only"]},
}
_DECIDED: Final = "What the gate says. A command that it does not allow is not carried out."
_STREAM_PROBLEMS: Final = (400, 401, 403, 404, 405, 406, 431, 503)
_EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "room.create": {"title": "Ops desk", "topic": "night shift"},
    "thread.create": {"title": "Disk is filling up"},
    "message.create": {"content_md": "**/var** is at 91 %", "sender_type": "agent", "sender_id": "watcher"},
    "run.create": {
        "room_id": "room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
        "title": "Read the page",
        "input": {"handler": "echo"},
        "tags": ["nightly"],
        "priority": 10,
    },
    "run.complete": {"summary": "1256 words", "output": {"words": 1256}},
    "run.fail": {"message": "the page is gone", "error": {"code": "E404"}},
    "run.cancel": {"reason": "not needed any more"},
    "step.create": {"kind": "fetch", "input": {"url": "https://example.org/"}},
    "step.complete": {"output": {"words": 1256}},
    "step.fail": {"message": "too few words"},
    "tool.invoke": {"tool_name": "http.get", "input": {"url": "https://example.org/"}},
    "tool.succeed": {"output": {"status": 200}},
    "tool.fail": {"message": "timeout"},
    "artifact.create": {"kind": "summary", "content": {"type": "text", "text": "1256 words"}},
    "incident.open": {"title": "Disk full", "severity": "high", "idempotency_key": "disk:/var"},
    "incident.rca": {"summary": "logs were not rotated", "analysis": {"since": "2026-11-20"}},
    "incident.learning": {"note": "alert at 80 %", "tags": ["alerting"]},
    "incident.close": {"reason": "rotation is back"},
    "experiment.create": {
        "title": "Shorter prompts",
        "hypothesis": "Half the prompt gives the same answers",
        "budget_cap_units": 100,
        "risk_tier": "low",
    },
    "experiment.update": {"budget_cap_units": 150},
    "experiment.close": {"reason": "enough runs"},
    "scorecard.record": {
        "template_key": "answers",
        "template_version": "1.0.0",
        "metrics": [{"key": "quality", "value": 0.92, "weight": 3}, {"key": "speed", "value": 0.7}],
    },
    "lesson.log": {
        "category": "evaluation",
        "summary": "Score a run before it counts",
        "run_id": "run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
    },
    "principal.ensure": {"actor_type": "agent", "actor_id": "watcher"},
    "engine.register": {"actor_id": "summariser", "token_label": "desk-1"},
    "engine.issue_token": {"scopes": {"action_types": ["evidence.ingest"]}},
    "engine.revoke_token": {"reason": "lost"},
    "engine.deactivate": {"reason": "retired"},
    "approval.create": {
        "action": "external.write",
        "title": "Send the report",
        "request": {"to": "ada@example.org", "subject": "Night report"},
        "room_id": "room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
    },
    "approval.decide": {"decision": "approve", "reason": "looks right"},
    "approval.cancel": {"reason": "sent by hand"},
    "approval.consume": {"action_digest": "sha256:" + "9f" * 32},
    "grant.revoke": {"reason": "the night shift is over"},
    "policy.evaluate": {"action": "external.write", "context": {"to": "ada@example.org"}},
    "action.register": {"action_type": "invoice.send", "side_effect": "external_write"},
    "action.record_drill": {"action_type": "invoice.send", "undo_succeeded": True, "read_back_matched": True},
    "resource_label.set": {"resource_type": "file", "resource_id": "salaries.csv", "label": "confidential"},
    "data_access.request": {"action": "data.read", "resource_type": "file", "resource_id": "salaries.csv"},
    "constraint.activate": {"effect": "deny"},
    "constraint.retire": {"reason": "the list is right again"},
    "egress.reconcile": {"outcome": "succeeded", "note": "the order is in their list"},
    "egress_rule.set": {"host": "api.github.com", "path": "/repos/ada/**", "rate": {"requests": 60, "per_s": 60}},
    "egress_rule.remove": {"rule_id": "egrl_0c5f7c621c535a0e9d0b9a4be2f1d3c7", "reason": "no longer needed"},
    "egress_rule.propose": {"host": "pypi.org", "methods": ["CONNECT"], "rationale": "pip must load packages"},
    "kill_switch.change": {"action": "engage", "scope": "external_write", "reason": "letters to the wrong people"},
    "agent.register": {"display_name": "Summariser"},
    "agent.quarantine": {"quarantine_reason": "asks for what it may not"},
    "capability.grant": {
        "issued_to_principal_id": "0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7",
        "granted_by_principal_id": "1d6a8d73-2d64-5b1f-8e1c-0b5cf302e4d8",
        "scopes": {"tools": ["http.get"], "egress_domains": ["*.example.org"]},
    },
    "capability.revoke": {"token_id": "7f0f2a51-2f0e-4f0b-8d5e-0f7f4f3a2b1c"},
}


def install(api: FastAPI, kinds: Sequence[CommandType], calls: Sequence[Call] = ()) -> None:
    """Make ``api.openapi()`` tell everything that this process serves."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = generate()
            _add(document, kinds, calls)
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def _add(document: dict[str, Any], kinds: Sequence[CommandType], calls: Sequence[Call]) -> None:
    _, definitions = models_json_schema(
        [
            *((kind.body, "validation") for kind in kinds),
            *((call.body, "validation") for call in calls),
            *((call.answer, "serialization") for call in calls),
            (Problem, "serialization"),
        ],
        ref_template=_REF,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SECURITY
    schemas = components.setdefault("schemas", {})
    for name, schema in definitions["$defs"].items():
        schemas.setdefault(name, schema)
    paths = document["paths"]
    for kind in kinds:
        if kind.path:
            paths.setdefault(kind.path, {})["post"] = _command(kind)
        if kind.member is not None:
            _leave_to_path(schemas[kind.body.__name__], kind.member)
    for call in calls:
        paths.setdefault(call.path, {})["post"] = _call(call)
    paths["/v1/commands"] = {"post": _bulk(kinds)}
    paths["/v1/streams/rooms/{room_id}"] = {"get": _stream("Live feed of a room", "room")}
    paths["/v1/streams/workspace"] = {"get": _stream("Live feed of the workspace's own stream", None)}
    for path, operations in paths.items():
        for method, operation in operations.items():
            _finish(method, operation, in_workspace=path.startswith(("/v1/", "/access/")))
    examples.complete(document)


def _leave_to_path(schema: dict[str, Any], member: str) -> None:
    """Over HTTP the path has it; the body need not."""
    schema["properties"].pop(member)
    schema["required"] = [name for name in schema.get("required", ()) if name != member]


def _finish(method: str, operation: dict[str, Any], *, in_workspace: bool) -> None:
    """What the edge adds to every operation."""
    if in_workspace:
        # Either of them, or none: in open mode no credential is asked for.
        operation["security"] = [{name: []} for name in _SECURITY] + [{}]
        operation.setdefault("parameters", []).append(_WORKSPACE)
    for status in (400, 401, 403, 431):
        operation["responses"].setdefault(str(status), _problem(_WRITE_PROBLEMS[status]))
    if method == "get":
        operation["responses"].pop("422", None)  # a bad query is a 400 here
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            if parameter["in"] == "query" and ("enum" in schema or schema.get("format") == "date-time"):
                # A form sends an empty one for none.
                parameter["schema"] = {"anyOf": [schema, {"const": "", "title": "As if absent"}]}


def _command(kind: CommandType) -> dict[str, Any]:
    noun, verb = kind.name.split(".")
    answer = {
        "type": "object",
        "required": ["ok" if kind.answers is None else kind.answers],
        "properties": {
            **_subject(kind),
            "event_id": {"type": "string", "format": "uuid"},
            "stream_type": {"enum": ["room", "workspace"]},
            "stream_id": {"type": "string"},
            "stream_seq": {"type": "integer", "minimum": 1},
        },
    }
    parameters = [_header("idempotency-key", "Makes a retry safe: the same key gets the first answer again.", _KEY)]
    if kind.body.under_lease:
        parameters.append(
            _header("x-claim-token", "The lease that it is written under; `claim_token` does as well.", None)
        )
    in_path = [name for name in (kind.parameter, kind.member) if name is not None]
    parameters += [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path]
    return {
        "tags": [_tag(noun)],
        "summary": f"{noun.replace('_', ' ').capitalize()}: {verb.replace('_', ' ')}",
        "operationId": f"{verb}_{noun}",
        "description": (kind.body.__doc__ or "").strip(),
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REF.format(model=kind.body.__name__)},
                    "example": _EXAMPLES.get(kind.name, {}),
                }
            },
        },
        "responses": {
            **({"200": _appended("It was on record already; nothing was appended.", answer)} if kind.answers else {}),
            str(kind.status): _appended("Appended.", answer),
            **({"200": _appended(_DECIDED, _decided(answer))} if kind.gate else {}),
            **_problems(tuple(_WRITE_PROBLEMS)),
        },
    }


def _decided(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A decision of the gate, with the place of its event."""
    place = {name: schema for name, schema in answer["properties"].items() if name.startswith(("event_", "stream_"))}
    return {
        "type": "object",
        "required": ["decision_id", "decision", "reason_code"],
        "properties": {**_DECISION, **place},
    }


def _call(call: Call) -> dict[str, Any]:
    noun, verb = call.name.split(".")
    named = [part.strip("{}") for part in call.path.split("/") if part.startswith("{")]
    return {
        "tags": [_tag(noun)],
        "summary": call.summary,
        "operationId": f"{verb}_{noun}",
        "description": (call.body.__doc__ or "").strip(),
        "parameters": [
            _header("idempotency-key", "Makes a retry safe: the same key gets the first answer again.", _KEY),
            _header("x-engine-id", "The engine's id, with its token.", None),
            _header("x-engine-token", "The engine's token.", None),
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in named),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REF.format(model=call.body.__name__)},
                    "example": call.example or {},
                }
            },
        },
        "responses": {
            str(call.status): {
                "description": "Done.",
                "content": {"application/json": {"schema": {"$ref": _REF.format(model=call.answer.__name__)}}},
            },
            **_problems(tuple(_WRITE_PROBLEMS)),
        },
    }


def _tag(noun: str) -> str:
    return _TAGS.get(noun, noun.replace("_", " ") + "s")


def _subject(kind: CommandType) -> dict[str, Any]:
    if kind.answers is None:
        return {"ok": {"const": True}}
    example = f"{kind.prefix}01JDAGZ3K8R4W5T6Y7V8X9Z0AB" if kind.prefix else "..."
    return {kind.answers: {"type": "string", "examples": [example]}}


def _appended(description: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": answer}}}


def _bulk(kinds: Sequence[CommandType]) -> dict[str, Any]:
    command = {
        "type": "object",
        "required": ["type"],
        "additionalProperties": False,
        "properties": {
            "type": {
                "type": "string",
                "description": f"One of {', '.join(kind.name for kind in kinds if kind.path)}; "
                "another one's result is 400 `unknown_command`.",
            },
            "body": {
                "description": "The command's HTTP body, an object, with the ids of its path; else its result is 400."
            },
        },
    }
    return {
        "tags": ["commands"],
        "summary": "Run several commands",
        "operationId": "run_commands",
        "description": "Runs commands in order. With `atomic`, all or none of them; they must then be of one room.",
        "parameters": [_header("idempotency-key", "Makes a retry of the whole list safe.", _KEY)],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["commands"],
                        "additionalProperties": False,
                        "properties": {
                            "atomic": {"type": "boolean", "default": False},
                            "commands": {"type": "array", "minItems": 1, "maxItems": MAX_BULK, "items": command},
                        },
                    },
                    "example": {"commands": [{"type": "room.create", "body": {"title": "Ops desk"}}]},
                }
            },
        },
        "responses": {
            "200": {
                "description": "One result a command, in order: its `status`, and its answer's or problem's members.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["results"],
                            "properties": {
                                "results": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "required": ["status"],
                                        "properties": {"status": {"type": "integer"}},
                                    },
                                }
                            },
                        }
                    }
                },
            },
            **_problems(tuple(_WRITE_PROBLEMS)),
        },
    }


def _stream(summary: str, parent: str | None) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": "from_seq",
            "in": "query",
            "description": "Exclusive: events after this stream_seq. `latest` follows only.",
            "schema": {"anyOf": [{"type": "integer", "minimum": 0}, {"const": "latest"}], "default": 0},
        },
        _header("last-event-id", "Wins over from_seq; browsers send it when they reconnect.", r"^[0-9]{1,18}$"),
    ]
    if parent is not None:
        parameters.append({"name": f"{parent}_id", "in": "path", "required": True, "schema": {"type": "string"}})
    return {
        "tags": ["streams"],
        "summary": summary,
        "operationId": f"stream_{parent or 'workspace'}",
        "description": stream_frames.IN_WORDS,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "Frames until the client leaves or `gone`.",
                "content": {
                    "text/event-stream": {
                        "schema": {
                            "type": "string",
                            "contentMediaType": "text/event-stream",
                            "contentSchema": {"type": "array", "items": stream_frames.SCHEMA},
                        },
                        "example": stream_frames.AS_SENT,
                    }
                },
            },
            **_problems(_STREAM_PROBLEMS),
        },
    }


def _problems(statuses: Sequence[int]) -> dict[str, Any]:
    told = {**_WRITE_PROBLEMS, 406: "Accept must allow text/event-stream."}
    return {str(status): _problem(told[status]) for status in statuses}


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }


def _header(name: str, description: str, pattern: str | None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_WORKSPACE: Final = _header("x-workspace-id", "Workspace; `ws_dev` when absent or empty.", r"^[A-Za-z0-9_-]{0,64}$")
