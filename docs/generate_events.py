"""Writes events.md beside this file from the code: the catalogue, the deciders, the command bodies, the envelope.

Each event that a command causes is really decided and sealed here, with fixed ids, so that the examples cannot drift
from the code. A test compares the file with what this makes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from agentos_api.append import leaks
from agentos_api.append.stream_cache import ABSENT, Entry, advance, follow, leads_to
from agentos_api.command_type import CommandType
from agentos_api.command_types import COMMAND_TYPES
from agentos_shared import dlp
from agentos_shared.domain import egress, ids, incidents, principals
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.artifacts import Kept
from agentos_shared.domain.catalog import AGGREGATES, EVENT_TYPES
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.delegations import Ancestry
from agentos_shared.domain.egress_match import EgressRule
from agentos_shared.domain.egress_rules import RuleBody, rule_id_of, rule_of
from agentos_shared.domain.engines import NewToken, engine_id
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone, canonical_content, seal
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.evidence import RunEvent
from agentos_shared.domain.grants import Moment
from agentos_shared.domain.policy.assessment import assessment
from agentos_shared.domain.policy.evaluate import basis, evaluate
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, DataLabel, Facts, Request
from agentos_shared.domain.policy.records import Gated
from agentos_shared.domain.targets import parse

TARGET = Path(__file__).with_name("events.md")
MOMENT = datetime(2026, 11, 24, 5, 30, 0, 123000, tzinfo=UTC)
META = Meta("ws_dev", principals.actor("ws_dev", "user", "ada"), "5b0a1c9e-3a1f-4c1e-9d0a-2f6f1f6f7a11")
ENTITIES = {
    "room": "room_01KAT0M8QR4N7Y2V5C1DJ9XEWB",
    "thread": "th_01KAT0MB3D6S9TQ8ZK2W7M4HRA",
    "message": "msg_01KAT0MDVX1PBC5E0G8NYJ3F6Q",
    "run": "run_01KAT0MG7ZC4M2T9XW5BDE1HQN",
    "failed run": "run_01KAT0MK5P8R3V6Y1SA7JNG2FT",
    "cancelled run": "run_01KAT0MN2W9D4C7H5XE0QZB8KM",
    "step": "step_01KAT0MQ6B1F8J3N9RT4VYC5GS",
    "failed step": "step_01KAT0MS9H4K7M2P6WX1ZDE8AQ",
    "tool": "tc_01KAT0MV3T8Y5C1E9GJ4N7RWBX",
    "failed tool": "tc_01KAT0MXB6D2H9K4P8SV3ZF7QM",
    "artifact": "art_01KAT0MZR5T1W8Y4C7E2HJ9NKB",
    "incident": incidents.incident_id("ws_dev", "disk:/var"),
    "experiment": "exp_01KAT0N3C8F2K6Q1T4W9Y7ZBXE",
    "scorecard": "scd_01KAT0N5E1H7M3R8V2X6DJ4SGP",
    "lesson": "les_01KAT0N7G4K9P5T2W8Z1BC6HFN",
    "approval": "appr_01KAT0NA0Q4M7S2W5Y8C1E6HFZ",
    "grant": "appr_01KAT0NA1Q4M7S2W5Y8C1E6HFZ",
    "held approval": "appr_01KAT0NA2Q4M7S2W5Y8C1E6HFZ",
    "expired approval": "appr_01KAT0NA3Q4M7S2W5Y8C1E6HFZ",
    "lapsed approval": "appr_01KAT0NA4Q4M7S2W5Y8C1E6HFZ",
    "cancelled approval": "appr_01KAT0NA5Q4M7S2W5Y8C1E6HFZ",
    "shared approval": "appr_01KAT0NA8Q4M7S2W5Y8C1E6HFZ",
    "replaced approval": "appr_01KAT0NA7Q4M7S2W5Y8C1E6HFZ",
    "replacing approval": "appr_01KAT0NA6Q4M7S2W5Y8C1E6HFZ",
    "decision": "dec_01KAT0NB0Q4M7S2W5Y8C1E6HFZ",
    "denied decision": "dec_01KAT0NB2Q4M7S2W5Y8C1E6HFZ",
    "engine": engine_id("ws_dev", "summariser"),
    "repeated decision": "dec_01KAT0NB4Q4M7S2W5Y8C1E6HFZ",
    "unjustified access": "dec_01KAT0NB6Q4M7S2W5Y8C1E6HFZ",
    "justified access": "dec_01KAT0NB8Q4M7S2W5Y8C1E6HFZ",
    "denied access": "dec_01KAT0NBAQ4M7S2W5Y8C1E6HFZ",
    "capability": "7f0f2a51-2f0e-4f0b-8d5e-0f7f4f3a2b1c",
    "refused capability": "8e1b3c62-3a1f-4a1c-9e6f-1a8a5a4b3c2d",
    "agent": "agt_5f1c0a7e3b924d68a1d0c2f49e7b6a35",
    "egress proposal": "appr_01KAT0NA9Q4M7S2W5Y8C1E6HFZ",
    "egress_request": "egr_6f1d2f0e5d0c5e7a9c1b9f6c0a7d3b42",
    "blocked egress": "egr_7a2e3f1f6e1d4f8b8d2caf7d1b8e4c53",
    "failed egress": "egr_8b3f4a2a7f2e5a9c9e3db08e2c9f5d64",
    "unknown egress": "egr_9c4a5b3b8a3f6bad8f4ec19f3da06e75",
}


class Example(NamedTuple):
    """A command as the examples tell it.

    Args:
        command: name of its type.
        on: what its path names, a key of ``ENTITIES``; by default the type's parent.
        new: what it creates, a key of ``ENTITIES``; by default the noun of its name.
        loaded: what would be read or drawn for it, or makes it of the events so far.
    """

    command: str
    body: Mapping[str, Any]
    on: str | None = None
    new: str | None = None
    loaded: Any = None


def _cancelled_run(events: Sequence[Event]) -> list[RunEvent]:
    """A short run up to its end, as evidence takes it."""
    run = [event for event in events if event.run_id == ENTITIES["cancelled run"]]
    return [RunEvent(*(getattr(event, name) for name in RunEvent._fields)) for event in run]


_LEASE = {
    "claim_token": "3f0a6f0e-6a3c-4e55-9a53-0d2b9f7f3c11",
    "run_attempt_id": "rat_01KAT0N1YQ3V6B9D5F8HJ2MTCX",
    "claimed_by_actor_id": "summariser",
    "actor_principal_id": principals.actor("ws_dev", "service", "summariser").principal_id,
    "lease_ttl_s": 30,
    "lease_expires_at": "2026-11-24T05:30:30.123Z",
}
_HELD = {"attempt_no": 1, "claim_token": _LEASE["claim_token"]}
_RUN = {"title": "Read the page", "goal": "Count its words", "tags": ["nightly"]}
_SHA256 = "a4fd38136d8b0bd1c42ac5f0a4a1cdb1e9a5e0a0ab8d5d0f0e5a3c0a5b9d8f77"

_TOKENS = tuple(
    NewToken(f"engtok_{number * 32}", f"{number * 8}-0d5c-4b7e-9d0b-9a4be2f1d3c7", "engtok_" + number * 43)
    for number in ("1", "2")
)

_WISH: dict[str, Any] = {"action": "external.write", "room_id": ENTITIES["room"], "context": {"to": "ada@example.org"}}


def _gated(action: str, zone: Zone) -> Gated:
    """What the gate says of an action in the room, without an approval."""
    context = _WISH["context"] if action == _WISH["action"] else {}
    digest = action_digest("ws_dev", action, META.actor, ENTITIES["room"], None, context)
    request = Request("ws_dev", "action", action, META.actor, digest, zone, room_id=ENTITIES["room"], context=context)
    facts = Facts(MOMENT, action=SEEDED_ACTIONS[action])
    decision = evaluate(request, facts)
    about = assessment(request, facts, decision)
    return Gated(request, decision, basis=basis(request, facts).told(), assessment=about, latency_us=2140)


_SALARIES = {"resource_type": "file", "resource_id": "salaries.csv"}
_READ = {"action": "data.read", **_SALARIES}


def _access(label: DataLabel, justification: str | None = None) -> Gated:
    """What the gate says of reading data with a label."""
    resource = "file/salaries.csv"
    digest = action_digest("ws_dev", "data.read", META.actor, None, None, {"resource": resource})
    request = Request(
        "ws_dev", "data_access", "data.read", META.actor, digest, resource=resource, justification=justification
    )
    facts = Facts(MOMENT, label=label)
    return Gated(request, evaluate(request, facts), basis=basis(request, facts).told())


_PAGE = {"target_url": "https://example.org/prices", "room_id": ENTITIES["room"]}
_SENDER = {"sender": "5f0c7a1e9b3d4c2a8e6f0b1d"}


def _sending(method: str) -> Gated:
    """What the gate says of a request to a host that a rule lists for reading."""
    target = parse(_PAGE["target_url"])
    parameters = {"method": method, "url": target.url, "body_sha256": hashlib.sha256(b"").hexdigest()}
    wish = egress.wish_of(
        "ws_dev",
        META.actor,
        action="external.write",
        **parameters,
        host=target.host,
        port=target.port,
        path=target.path,
        digest=action_digest("ws_dev", "external.write", META.actor, ENTITIES["room"], None, parameters),
        context={},
        room_id=ENTITIES["room"],
    )
    facts = Facts(MOMENT, egress_rules=(EgressRule("egrl_0c5f7c621c535a0e9d0b9a4be2f1d3c7", "allow", "example.org"),))
    return Gated(wish, evaluate(wish, facts), basis=basis(wish, facts).told())


EXAMPLES: tuple[Example, ...] = (
    Example("room.create", {"title": "Ops desk", "topic": "night shift"}),
    Example("thread.create", {"title": "Disk is filling up"}),
    Example("message.create", {"content_md": "**/var** is at 91 %", "sender_type": "agent", "sender_id": "watcher"}),
    Example("run.create", {"room_id": ENTITIES["room"], **_RUN, "input": {"handler": "summarise"}}),
    Example("run.claim", _LEASE),
    Example("step.create", {"kind": "fetch", "force": True}),
    Example("tool.invoke", {"tool_name": "http.get", "input": {"url": "https://example.org/"}, "force": True}),
    Example("tool.succeed", {"output": {"status": 200}, "force": True}, on="tool"),
    Example("tool.invoke", {"tool_name": "shell", "input": {"command": "wc"}, "force": True}, new="failed tool"),
    Example("tool.fail", {"message": "not allowed", "force": True}, on="failed tool"),
    Example(
        "artifact.create",
        {"kind": "summary", "title": "Words", "mime_type": "text/plain", "force": True},
        loaded=Kept({"type": "text", "text": "1256 words"}, _SHA256, 10),
    ),
    Example("step.complete", {"output": {"words": 1256}, "force": True}),
    Example("step.create", {"kind": "check", "force": True}, new="failed step"),
    Example("step.fail", {"message": "too few words", "force": True}, on="failed step"),
    Example("run.release", {"claim_token": _LEASE["claim_token"]}),
    Example("run.claim", {**_LEASE, "claim_token": "7d1f2f0e-95f3-4a50-8a6c-6f4f3f1d2c22"}),
    Example("kill_switch.change", {"action": "engage", "scope": "workspace", "reason": "spam"}, loaded=False),
    Example("run.acknowledge_stop", {"claim_token": "7d1f2f0e-95f3-4a50-8a6c-6f4f3f1d2c22"}),
    Example("kill_switch.change", {"action": "release", "scope": "workspace", "reason": "right again"}, loaded=False),
    Example("run.complete", {"summary": "1256 words", "output": {"words": 1256}, "force": True}),
    Example("run.create", {"room_id": ENTITIES["room"]}, new="failed run"),
    Example("run.claim", _LEASE, on="failed run"),
    Example("run.expire", _HELD, on="failed run"),
    Example("run.fail", {"message": "boom", "error": {"code": "E1"}}, on="failed run"),
    Example("run.create", {"room_id": ENTITIES["room"]}, new="cancelled run"),
    Example("run.cancel", {"reason": "not needed any more"}, on="cancelled run"),
    Example("principal.ensure", {"actor_type": "agent", "actor_id": "watcher"}),
    Example("engine.register", {"actor_id": "summariser", "metadata": {"host": "desk-1"}}, loaded=_TOKENS[0]),
    Example("engine.issue_token", {"scopes": {"action_types": ["evidence.ingest"]}}, loaded=_TOKENS[1]),
    Example(
        "engine_evidence.ingest",
        {
            "engine_id": ENTITIES["engine"],
            "event": {"event_id": "ci-4711", "event_type": "build.finished", "data": {"ok": True}},
        },
    ),
    Example("engine.revoke_token", {"token_id": _TOKENS[1].token_id}),
    Example("capability.revoke", {"token_id": _TOKENS[0].capability_token_id, "reason": "no longer needed"}),
    Example("engine.deactivate", {"reason": "retired"}),
    Example("evidence.finalize", {}, on="cancelled run", loaded=_cancelled_run),
    Example(
        "incident.open",
        {
            "title": "Disk full",
            "severity": "high",
            "category": "disk",
            "room_id": ENTITIES["room"],
            "idempotency_key": "disk:/var",
        },
    ),
    Example("incident.acknowledge", {}),
    Example("incident.rca", {"summary": "logs were not rotated", "analysis": {"since": "2026-11-20"}}),
    Example("incident.learning", {"note": "alert at 80 %", "tags": ["alerting"]}),
    Example("incident.close", {"reason": "rotation is back"}),
    Example(
        "experiment.create",
        {
            "title": "Shorter prompts",
            "hypothesis": "Half the prompt gives the same answers",
            "budget_cap_units": 100,
            "risk_tier": "low",
            "success_criteria": {"quality": 0.9},
            "stop_conditions": {"failed_runs": 3},
            "room_id": ENTITIES["room"],
        },
    ),
    Example("experiment.update", {"budget_cap_units": 150}),
    Example("experiment.close", {"reason": "enough runs"}, loaded=0),
    Example(
        "scorecard.record",
        {
            "template_key": "answers",
            "template_version": "1.0.0",
            "metrics": [{"key": "quality", "value": 0.92, "weight": 3}, {"key": "speed", "value": 0.7}],
            "run_id": ENTITIES["run"],
            "experiment_id": ENTITIES["experiment"],
        },
    ),
    Example(
        "lesson.log",
        {
            "category": "evaluation",
            "summary": "Score a run before it counts",
            "action_items": ["add a scorecard to the template"],
            "scorecard_id": ENTITIES["scorecard"],
        },
    ),
)
_REQUEST = {"to": "ada@example.org"}
_EMAIL = {"action": "email.send", "title": "Send the report", "request": _REQUEST}
_DIGEST = action_digest("ws_dev", "email.send", META.actor, ENTITIES["room"], None, _REQUEST)
_IN_ROOM = {"action": "email.send", "room_id": ENTITIES["room"], "scope": {"type": "room", "max_uses": 5}}
_LATER = MOMENT + timedelta(days=31)
EXAMPLES += (
    Example("approval.create", {**_EMAIL, "room_id": ENTITIES["room"]}, loaded=MOMENT),
    Example("approval.notify", {"channel": "phone", "failure": "exit code 1"}),
    Example("approval.notify", {"channel": "desk"}),
    Example("approval.see", {}),
    Example("approval.decide", {"decision": "approve", "reason": "looks right"}, loaded=MOMENT),
    Example("approval.deliver", {}),
    Example("approval.consume", {"action_digest": _DIGEST}, loaded=Moment(MOMENT)),
    Example("approval.create", _IN_ROOM, new="grant", loaded=MOMENT),
    Example("approval.decide", {"decision": "approve"}, on="grant", loaded=MOMENT),
    Example(
        "approval.consume",
        {"action_digest": _DIGEST, "room_id": ENTITIES["room"]},
        on="grant",
        loaded=Moment(MOMENT),
    ),
    Example("grant.revoke", {"reason": "the night shift is over"}, on="grant", loaded=MOMENT),
    Example("approval.create", _EMAIL, new="held approval", loaded=MOMENT),
    Example(
        "approval.decide",
        {"decision": "hold", "wake_at": "2026-11-24T09:00:00.000Z"},
        on="held approval",
        loaded=MOMENT,
    ),
    Example("approval.expire", {}, on="held approval", loaded=MOMENT + timedelta(hours=4)),
    Example(
        "approval.create",
        {**_EMAIL, "escalation": [{"after_s": 300, "notify": "badge"}, {"after_s": 900, "notify": "chat"}]},
        new="expired approval",
        loaded=MOMENT,
    ),
    Example("approval.expire", {}, on="expired approval", loaded=MOMENT + timedelta(minutes=5)),
    Example("approval.expire", {}, on="expired approval", loaded=_LATER),
    Example("approval.create", _IN_ROOM, new="lapsed approval", loaded=MOMENT),
    Example("approval.decide", {"decision": "approve"}, on="lapsed approval", loaded=MOMENT),
    Example("approval.expire", {}, on="lapsed approval", loaded=_LATER),
    Example("approval.create", {**_EMAIL, "required_approvals": 2}, new="shared approval", loaded=MOMENT),
    Example("approval.decide", {"decision": "approve"}, on="shared approval", loaded=MOMENT),
    Example("approval.create", _EMAIL, new="replaced approval", loaded=MOMENT),
    Example("approval.create", _EMAIL, new="cancelled approval", loaded=MOMENT),
    Example("approval.cancel", {"reason": "sent by hand"}, on="cancelled approval", loaded=MOMENT),
    Example(
        "approval.create",
        {**_EMAIL, "supersedes": ENTITIES["replaced approval"]},
        new="replacing approval",
        loaded=MOMENT,
    ),
    Example("policy.evaluate", _WISH, new="decision", loaded=_gated("external.write", "supervised")),
    Example(
        "policy.evaluate",
        {"action": "artifact.create", "zone": "sandbox", "room_id": ENTITIES["room"]},
        new="denied decision",
        loaded=_gated("artifact.create", "sandbox"),
    ),
)
_AGENT_PRINCIPAL = principals.actor("ws_dev", "agent", ENTITIES["agent"]).principal_id
_WATCHER = principals.actor("ws_dev", "agent", "watcher").principal_id
_GRANT = {
    "issued_to_principal_id": _AGENT_PRINCIPAL,
    "granted_by_principal_id": _WATCHER,
    "scopes": {"tools": ["http.get"]},
}
_REFUSED = _gated("external.write", "supervised")
ENTITIES["constraint"] = _REFUSED.learned_ids[0]
_PAYROLL = DataLabel("confidential", None, ("payroll",))
_DRILL = {"action_type": "invoice.send"}
_INVOICE = {**_DRILL, "side_effect": "external_write", "reversible": True, "undo_window_s": 3600}
EXAMPLES += (
    Example("agent.register", {"display_name": "Summariser"}),
    Example("agent.quarantine", {"quarantine_reason": "asks for what it may not"}, loaded=MOMENT),
    Example("agent.unquarantine", {}),
    Example("action.register", {**_INVOICE, "undo_action": "invoice.cancel", "idempotency_key": "x-request-id"}),
    Example("action.record_drill", {**_DRILL, "undo_succeeded": True, "read_back_matched": True}),
    Example("policy.evaluate", _WISH, new="repeated decision", loaded=_REFUSED),
    Example("constraint.activate", {"effect": "deny", "expires_at": "2026-12-24T05:30:00.123Z"}),
    Example("constraint.retire", {"reason": "the list is right again"}),
    Example("resource_label.set", {**_SALARIES, "label": "confidential", "purpose_tags": ["payroll"]}),
    Example("data_access.request", _READ, new="unjustified access", loaded=_access(_PAYROLL)),
    Example("data_access.request", _READ, new="justified access", loaded=_access(_PAYROLL, "asked by the auditor")),
    Example("resource_label.set", {**_SALARIES, "label": "restricted"}),
    Example("data_access.request", _READ, new="denied access", loaded=_access(DataLabel("restricted"))),
    Example("kill_switch.change", {"action": "engage", "reason": "letters to the wrong people"}, loaded=False),
    Example("kill_switch.change", {"action": "release", "reason": "the list is right again"}, loaded=False),
    Example("capability.grant", _GRANT, loaded=Ancestry(MOMENT)),
    Example("capability.collect", {}, on="capability", loaded=Ancestry(MOMENT)),
    Example("capability.use", {"token_id": ENTITIES["capability"], "blocks": {"c42acba869520b3c": 10}}),
    Example(
        "capability.grant",
        {**_GRANT, "parent_token_id": ENTITIES["capability"]},
        new="refused capability",
        loaded=Ancestry(MOMENT),
    ),
)
_HOST = {"host": "api.github.com", "path": "/repos/ada/**", "rate": {"requests": 60, "per_s": 60}}
_RULE_ID = rule_id_of("ws_dev", rule_of(RuleBody.model_validate(_HOST)))
EXAMPLES += (
    Example("egress_rule.set", {**_HOST, "note": "issues of our own repositories"}, loaded=MOMENT),
    Example("egress_rule.remove", {"rule_id": _RULE_ID, "reason": "no longer needed"}),
    Example(
        "egress_rule.propose",
        {"host": "pypi.org", "methods": ["CONNECT"], "rationale": "pip must load packages"},
        new="egress proposal",
        loaded=MOMENT,
    ),
    Example("approval.decide", {"decision": "approve"}, on="egress proposal", loaded=MOMENT),
)
_ANSWERED = {
    "status": 200,
    "headers": [["content-type", "text/plain"]],
    "address": "93.184.215.14",
    "content": {"type": "text", "text": "12.50"},
    "body_sha256": hashlib.sha256(b"12.50").hexdigest(),
    "bytes_out": 0,
    "bytes_in": 5,
    "truncated": False,
    "dns_ms": 1.2,
    "ttfb_ms": 20.5,
    "total_ms": 21.1,
}
_REFUSED_CONNECTION = {"phase": "connect", "error_code": "connect_refused", "detail": "no connection: refused"}
_LOST = {"error_code": "gateway_lost", "detail": "The gateway ended before the outcome was on record."}
_SENT = {**_SENDER, "addresses": ["93.184.215.14"]}
EXAMPLES += (
    Example("egress.request", _PAGE, new="egress_request", loaded=_sending("GET")),
    Example("egress.send", _SENT, loaded=_sending("GET")),
    Example("egress.finish", {**_SENDER, "result": "succeeded", "outcome": _ANSWERED}),
    Example("egress.request", {**_PAGE, "method": "DELETE"}, new="blocked egress", loaded=_sending("DELETE")),
    Example(
        "egress.refuse",
        {
            "reason_code": "egress.rate_limited",
            "reason": "The rate limit of an egress rule is reached.",
            "limit": {"rule_id": _RULE_ID, "burst": 60, "each_s": 1.0, "retry_after": 1},
        },
        on="blocked egress",
    ),
    Example("egress.request", _PAGE, new="failed egress", loaded=_sending("GET")),
    Example("egress.send", _SENT, on="failed egress", loaded=_sending("GET")),
    Example(
        "egress.finish",
        {**_SENDER, "result": "failed", "unsent": True, "outcome": _REFUSED_CONNECTION},
        on="failed egress",
    ),
    Example("egress.request", _PAGE, new="unknown egress", loaded=_sending("GET")),
    Example("egress.send", _SENT, on="unknown egress", loaded=_sending("GET")),
    Example("egress.finish", {"result": "outcome_unknown", "outcome": _LOST}, on="unknown egress"),
    Example("egress.reconcile", {"outcome": "succeeded", "note": "it is in their log"}, on="unknown egress"),
)
_SECRET = {"secret_id": ids.derived_id(ids.SECRET, "ws_dev", "github"), "secret_name": "github"}
_BOUND = {"version": 1, "hosts": ["api.github.com"], "methods": [], "places": ["header"]}
EXAMPLES += (
    Example("secret.record", {"doing": "upserted", **_SECRET, "created": True, **_BOUND}),
    Example("secret.record", {"doing": "accessed", **_SECRET, "accessed_by_principal_id": _WATCHER}),
    Example(
        "secret.record",
        {"doing": "injected", **_SECRET, "version": 1, "egress_request_id": "egr_" + "6f" * 16},
    ),
    Example("secret.record", {"doing": "key_rotated", "secret_id": _SECRET["secret_id"], "rewrapped": 1}),
    Example("secret.record", {"doing": "removed", **_SECRET}),
)
LEAK = "the key is ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"

#: One line for each member of the envelope; a member without one fails the generation.
ENVELOPE = {
    "event_id": "UUIDv7. The same event has the same id everywhere: deduplicate on it.",
    "event_type": "`noun.verb`, the verb in the past tense.",
    "event_version": "version of the payload; a breaking change is a new one.",
    "occurred_at": "when it happened; `recorded_at` unless the source says otherwise.",
    "recorded_at": "when the writer put it into the store.",
    "workspace_id": "1 to 64 of `A-Z a-z 0-9 _ -`.",
    "mission_id": "the room's.",
    "room_id": "the room that it belongs to.",
    "thread_id": "the thread that it belongs to.",
    "run_id": "the run that it belongs to.",
    "step_id": "the step that it belongs to.",
    "actor_type": "`user`, `service` or `agent`.",
    "actor_id": "who did it. In open mode this is the caller's own claim.",
    "actor_principal_id": "UUIDv5 of workspace, type and id: the same actor has the same one, always.",
    "zone": "`sandbox`, `supervised` or `high_stakes`; the room's, or a stricter one.",
    "stream_type": "`room` or `workspace`.",
    "stream_id": "the room's or the workspace's id.",
    "stream_seq": "place in the stream: from 1, without gaps.",
    "entity_type": "what it is about: " + ", ".join(f"`{name}`" for name in sorted(set(EVENT_TYPES.values()))) + ".",
    "entity_id": "which one. All events of an entity are in one stream.",
    "entity_version": "place in the entity's life: from 1, without gaps.",
    "correlation_id": "one for all that belongs to one request, or as the caller gives it.",
    "causation_id": "the event that led to it: the entity's last one; in a run, the last of all that is in it.",
    "redaction_level": "`none`, `partial` or `full`: what is missing from `data`.",
    "contains_secrets": "whether `data` held a secret, now redacted.",
    "data": "the payload, below.",
    "idempotency_key": "of the request that caused it.",
    "prev_event_hash": "`event_hash` of the event before in the stream.",
    "event_hash": "links this event to the one before; docs/security.md tells what that proves.",
}


class _History:
    """The events so far, and the folded entities, as a decider reads them."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.events: list[Event] = []
        self.told: dict[str, tuple[Event, CommandType | None]] = {}

    @property
    def now(self) -> datetime:
        return MOMENT

    def get(self, kind: type[Any], entity_id: str) -> Any:
        state = self.entries.get(entity_id, ABSENT).state
        return state if isinstance(state, kind) else None

    def version(self, entity_id: str) -> int:
        return self.entries.get(entity_id, ABSENT).version

    def last_event_id(self, entity_id: str) -> str | None:
        return self.entries.get(entity_id, ABSENT).last_event_id

    def stream_of(self, entity_id: str) -> Stream:
        return next(event.stream for event in self.events if event.entity_id == entity_id)

    def place(self, news: Sequence[NewEvent], kind: CommandType | None) -> None:
        """Append what was decided, and note the first event of each type."""
        for new in news:
            before = [event for event in self.events if event.stream == new.stream]
            leading = leads_to(new)
            event = seal(
                new,
                event_id=f"019ab3c4-5d6e-7f80-9123-{len(self.events) + 1:012x}",
                recorded_at=MOMENT,
                stream_seq=len(before) + 1,
                entity_version=self.version(new.entity_id) + 1,
                causation_id=self.last_event_id(leading),
                content=canonical_content(new.data, new.policy_context, new.model_context, new.display),
                salt=bytes(16),
                prev_event_hash=before[-1].event_hash if before else None,
            )
            self.entries[new.entity_id] = advance(self.entries.get(new.entity_id, ABSENT), event)
            if leading != new.entity_id:
                self.entries[leading] = follow(self.entries[leading], event)
            self.events.append(event)
            self.told.setdefault(event.event_type, (event, kind))

    def run(self, example: Example) -> None:
        """Decide an example and append what comes of it."""
        kind = next(kind for kind in COMMAND_TYPES if kind.name == example.command)
        body = kind.body.model_validate(example.body)
        above = ENTITIES[example.on or kind.parent] if kind.parent else None
        home = kind.home(body) if kind.home is not None else None
        lives_with = above or (home[1] if home is not None else None)
        if kind.prefix is not None:
            entity_id = ENTITIES[example.new or kind.name.partition(".")[0]]
        elif kind.entity is not None:
            entity_id = kind.entity("ws_dev", body)
        else:
            assert above is not None
            entity_id, above = above, None
        if kind.opens_stream:
            room_id: str | None = entity_id
        else:
            stream = self.stream_of(lives_with) if lives_with else Stream("workspace", "ws_dev")
            room_id = stream.id if stream.type == "room" else None
        loaded = example.loaded(self.events) if callable(example.loaded) else example.loaded
        command = Command(body, META, entity_id, above, room_id, loaded)
        try:
            news = kind.decide(command, self)
        except DomainError as refusal:
            if not refusal.recorded:
                raise
            news = refusal.recorded
        self.place(news, kind)


def examples() -> list[tuple[Event, CommandType | None]]:
    """One event of every type, as the examples tell them, each with the command that causes it."""
    history = _History()
    for example in EXAMPLES:
        history.run(example)
    said = next(event for event in history.events if event.event_type == "message.created")
    history.place(leaks.events_of(said, dlp.scan({"content_md": LEAK})), None)
    return list(history.told.values())


def text() -> str:
    """The whole file."""
    told = examples()
    missing = EVENT_TYPES.keys() - {event.event_type for event, _ in told}
    if missing:
        raise ValueError(f"no example of {sorted(missing)}: say in this file how it comes about")
    return (
        "\n".join([*_head(told[0][0]), *_overview(told), *(line for pair in told for line in _section(*pair))]) + "\n"
    )


INTRODUCTION = """\
<!-- Generated by `make docs` from the code: change it there. -->
# Events

The specification of what Agent OS records. Every change is one immutable event in one stream: `room/<room_id>` for what
belongs to a room, `workspace/<workspace_id>` for the rest. HTTP, SSE and NATS carry the same envelope; a member without
a value is null, never absent. Times are RFC 3339, UTC, with milliseconds. Readers ignore members and types that they do
not know; a breaking change of a payload is a new `event_version`.

## The envelope

| member | meaning |
| --- | --- |
"""
CONTEXTS = """\

`GET /v1/events/{event_id}` adds the objects `policy_context` (of a tool call what its caller claims to be allowed, and
the decision of the gate; of a decision what it was asked with), `model_context` and `display` (both empty so far).
"""


def _head(event: Event) -> Iterator[str]:
    yield INTRODUCTION + "\n".join(f"| `{name}` | {ENVELOPE[name]} |" for name in event.envelope())
    yield CONTEXTS


def _overview(told: Sequence[tuple[Event, CommandType | None]]) -> Iterator[str]:
    yield "## Types"
    yield ""
    yield "| type | entity | stream | caused by |"
    yield "| --- | --- | --- | --- |"
    for event, kind in told:
        anchor = event.event_type.replace(".", "")
        yield f"| [`{event.event_type}`](#{anchor}) | {event.entity_type} | {event.stream_type} | {_cause(kind)} |"
    yield ""


def _cause(kind: CommandType | None) -> str:
    if kind is None:
        return "the secret scanner, in the append itself"
    if kind.name == "approval.expire":
        return f"the API itself, when the time has come, command `{kind.name}`"
    if kind.name == "approval.notify":
        return f"the API itself, once a channel was told or could not be, command `{kind.name}`"
    if kind.name == "approval.deliver":
        return f"the API itself, once its answer has reached somebody who waited, command `{kind.name}`"
    if kind.name == "capability.use":
        return "the API itself, for each command that comes with a token whose uses are counted"
    if kind.internal:
        return f"`POST {kind.path}`" if kind.path else f"the engine service, command `{kind.name}`"
    return f"`POST {kind.path}`, command `{kind.name}`"


def _section(event: Event, kind: CommandType | None) -> Iterator[str]:
    aggregate = AGGREGATES.get(event.entity_type)
    fields = kind.body.model_json_schema()["properties"] if kind else {}
    yield f"### {event.event_type}"
    yield ""
    decider = getattr(kind.decide, "__module__", "") if kind else leaks.__name__
    purpose = f"Decided in `{decider}`" + (f", folded by `{aggregate.evolve.__module__}`." if aggregate else ".")
    yield f"Version {event.event_version}. {purpose}"
    yield ""
    yield "| `data` member | type | example |"
    yield "| --- | --- | --- |"
    for name, value in event.data.items():
        kind_of = _type(fields[name]) if name in fields else _type_of(value)
        yield f"| `{name}` | {kind_of} | `{_json(value)}` |"
    yield ""
    if kind is not None:
        yield "```json"
        yield json.dumps(event.envelope(), indent=2, ensure_ascii=False)
        yield "```"
        yield ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    name = str(schema.get("type", "any"))
    if name == "array":
        return f"list of {_type(schema['items'])}"
    bounds = [f"at most {schema[key]} {unit}" for key, unit in (("maxLength", "characters"),) if key in schema]
    return name + (f", {', '.join(bounds)}" if bounds else "")


def _type_of(value: Any) -> str:
    return {str: "string", int: "integer", list: "list", bool: "boolean"}.get(type(value), "object")


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
