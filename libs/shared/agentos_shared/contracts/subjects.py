"""Every subject, stream and durable name. Nothing else spells one."""

import re
from typing import Final

EVENTS_STREAM: Final = "AGENTOS_EVENTS"
EVENTS_SUBJECTS: Final = "agentos.evt.>"
#: The events of all workspaces' own streams.
WORKSPACE_EVENTS: Final = "agentos.evt.*.workspace.>"
#: What happens to approvals, in all streams.
APPROVAL_EVENTS: Final = "agentos.evt.*.*.*.approval.>"
#: Consumers a stream may have: one per service and one per API process, with room for integrations.
MAX_CONSUMERS: Final = 256
DUPLICATE_WINDOW_S: Final = 120.0

PROJECTOR_DURABLE: Final = "projector"
PROJECTOR_QUEUE: Final = "projector"

#: All that integrations may send there, so that also what names no command gets an answer.
COMMANDS: Final = "agentos.cmd.>"
COMMANDS_QUEUE: Final = "api"

#: Commands of services: ``agentos.svc.<service>.<noun>.<verb>``. The subject is the identity, since only the service's
#: own NATS user may publish below its name.
SERVICE_COMMANDS: Final = "agentos.svc.*.*.*"

ENGINE_QUEUE: Final = "engine"
ENGINE_CLAIM: Final = "agentos.rpc.engine.claim"
ENGINE_HEARTBEAT: Final = "agentos.rpc.engine.heartbeat"
#: To all processes of the engine service: nobody waits for these claims any more.
ENGINE_WITHDRAW: Final = "agentos.rpc.engine.withdraw"

POLICY_QUEUE: Final = "policy"
POLICY_EVALUATE: Final = "agentos.rpc.policy.evaluate"
POLICY_SIMULATE: Final = "agentos.rpc.policy.simulate"

GATEWAY_QUEUE: Final = "gateway"
GATEWAY_REQUEST: Final = "agentos.rpc.gateway.request"
#: To all processes of the gateway: a kill switch was engaged. Nobody answers; what is lost is that a request is cut.
GATEWAY_STOP: Final = "agentos.rpc.gateway.stop"
GATEWAY_SECRETS: Final = "agentos.rpc.gateway.secrets"

#: Core-NATS hints between processes; losing one costs a fallback poll, never an event.
PING_OUTBOX: Final = "agentos.ping.outbox"
PING_PROJECTED: Final = "agentos.ping.projected"
#: Streams in which something happened to a run, with their positions: what the engine service reads next.
PING_RUNS: Final = "agentos.ping.runs"
#: A reader waits for the projector: it should not let more work gather first.
PING_WANTED: Final = "agentos.ping.wanted"

HEADER_EVENT_ID: Final = "Nats-Msg-Id"
HEADER_EXPECTED_LAST_SEQUENCE: Final = "Nats-Expected-Last-Sequence"
HEADER_EXPECTED_LAST_EVENT_ID: Final = "Nats-Expected-Last-Msg-Id"
HEADER_STREAM_SEQ: Final = "agentos-stream-seq"
HEADER_TRACEPARENT: Final = "traceparent"

#: CloudEvents 1.0, NATS binding, binary mode: the attributes ride in headers, the body is the envelope itself.
HEADER_CE_ID: Final = "ce-id"
HEADER_CE_SOURCE: Final = "ce-source"
HEADER_CE_TYPE: Final = "ce-type"
HEADER_CE_TIME: Final = "ce-time"
HEADER_CE_SPECVERSION: Final = "ce-specversion"
HEADER_CE_SUBJECT: Final = "ce-subject"
HEADER_CONTENT_TYPE: Final = "content-type"
CE_SPECVERSION: Final = "1.0"

WORKSPACE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def event(workspace_id: str, stream_type: str, stream_id: str, event_type: str) -> str:
    """Subject of one event: ``agentos.evt.<workspace>.<stream_type>.<stream_id>.<type with its dots as tokens>``."""
    return f"agentos.evt.{workspace_id}.{stream_type}.{stream_id}.{event_type}"


def events_of(stream_type: str, stream_id: str) -> str:
    """Subject filter for all events of one stream (stream ids are unique over workspaces)."""
    return f"agentos.evt.*.{stream_type}.{stream_id}.>"


def ce_source(workspace_id: str, stream_type: str, stream_id: str) -> str:
    """CloudEvents ``source``: the stream that tells of it, as a URI reference."""
    return f"/agentos/{workspace_id}/{stream_type}/{stream_id}"


def stream_of(subject: str) -> tuple[str, str]:
    """(stream_type, stream_id) of an event's subject. Raises ValueError when it is none."""
    parts = subject.split(".", 5)
    if len(parts) != 6 or parts[0] != "agentos" or parts[1] != "evt":
        raise ValueError(f"not an event subject: {subject}")
    return parts[3], parts[4]


def command(workspace_id: str, noun: str, verb: str) -> str:
    """Subject of a command for request/reply: ``agentos.cmd.<workspace>.<noun>.<verb>``."""
    return f"agentos.cmd.{workspace_id}.{noun}.{verb}"


def service_command(service: str, noun: str, verb: str) -> str:
    """Subject of a service's command to the API: ``agentos.svc.<service>.<noun>.<verb>``."""
    return f"agentos.svc.{service}.{noun}.{verb}"


def claims_of(process: str) -> str:
    """Subject on which one API process gets the answers to its claims."""
    return f"agentos.rpc.api.{process}.claims"


def alive(engine_process: str) -> str:
    """Subject on which one process of the engine service says that it is there; nobody answers once it is gone."""
    return f"agentos.rpc.engine.{engine_process}.alive"


def health(service: str) -> str:
    """Subject on which a service answers whether it can serve: ``agentos.rpc.<service>.health``."""
    return f"agentos.rpc.{service}.health"
