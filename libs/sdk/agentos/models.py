"""What the API answers, as models. Members that this version does not know are ignored; times are aware datetimes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentos.errors import AgentOSError

ActorType = Literal["user", "service", "agent"]


class Model(BaseModel):
    """Immutable; a newer server may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Written(Model):
    """What a write answers: the place of its last event. All None where it changed nothing."""

    event_id: str | None = None
    stream_type: str | None = None
    stream_id: str | None = None
    stream_seq: int | None = None

    @property
    def position(self) -> str | None:
        """For ``min_position`` of a list: it then shows at least this write."""
        return None if self.stream_seq is None else f"{self.stream_type}/{self.stream_id}@{self.stream_seq}"


class RoomCreated(Written):
    room_id: str


class ThreadCreated(Written):
    thread_id: str


class MessageCreated(Written):
    message_id: str


class RunCreated(Written):
    run_id: str


class StepCreated(Written):
    step_id: str


class ToolInvoked(Written):
    tool_call_id: str


class ArtifactCreated(Written):
    artifact_id: str


class EgressContent(Model):
    """The body that came back. ``type`` is text, base64, blob (a large one, kept beside) or none."""

    type: str
    text: str | None = None
    base64: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None


class EgressOutcome(Model):
    """What came of a request. ``result``: succeeded (there was an answer, whatever its ``status``), failed (nothing got
    there), outcome_unknown (it was sent, and nobody knows whether it arrived).
    """

    result: str
    status: int | None = None
    headers: list[tuple[str, str]] = []
    content: EgressContent | None = None
    truncated: bool = False
    error_code: str | None = None
    detail: str | None = None


class EgressResult(Written):
    """What was decided on a request, and what came of it."""

    egress_request_id: str
    decision: str
    reason_code: str
    reason: str | None = None
    approval_id: str | None = None
    action_digest: str | None = None
    outcome: EgressOutcome | None = None

    def answered(self) -> EgressOutcome:
        """The answer that came back. Raises EgressRefused: there is none."""
        if self.outcome is None or self.outcome.result != "succeeded":
            raise EgressRefused(self)
        return self.outcome


class EgressRefused(AgentOSError):
    """A request to the world outside was not allowed, or no answer came."""

    def __init__(self, found: EgressResult) -> None:
        outcome = found.outcome
        told = found.reason_code if outcome is None else f"{outcome.result}, {outcome.error_code}: {outcome.detail}"
        super().__init__(f"{found.egress_request_id}: {found.decision}, {told}")
        self.found = found


class EgressSeen(Model):
    """A request as it stands."""

    egress_request_id: str
    status: str
    method: str
    target_url: str
    policy_decision: str | None = None
    policy_reason_code: str | None = None
    approval_id: str | None = None
    attempts: int
    outcome: EgressOutcome | None = None
    content: EgressContent | None = None


class IncidentOpened(Written):
    """``deduped``: it was open already, with the same key."""

    incident_id: str
    deduped: bool = False


class ApprovalRequested(Written):
    """``action_digest`` tells exactly which action it is about."""

    approval_id: str
    action_digest: str | None = None


class LearningLogged(Written):
    learning_id: str


class Room(Model):
    """A place where people and agents meet."""

    room_id: str
    workspace_id: str
    title: str
    topic: str | None = None
    room_mode: str = "normal"
    default_lang: str = "en"
    mission_id: str | None = None
    tool_policy_ref: str | None = None
    created_at: datetime
    updated_at: datetime


class Thread(Model):
    """One subject of a room."""

    thread_id: str
    workspace_id: str
    room_id: str
    title: str
    status: str
    created_at: datetime
    updated_at: datetime


class Message(Model):
    """What a person, an agent or a service said in a thread."""

    message_id: str
    workspace_id: str
    room_id: str
    thread_id: str
    sender_type: str
    sender_id: str
    content_md: str
    lang: str
    parent_message_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    labels: list[str] = Field(default_factory=list)
    created_at: datetime
    updated_at: datetime


class Found(Model):
    """One hit of a search."""

    doc_id: str
    doc_type: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    content_text: str
    lang: str | None = None
    updated_at: datetime


class Event(Model):
    """One event: the same object on HTTP, SSE and NATS."""

    event_id: str
    event_type: str
    event_version: int
    occurred_at: datetime
    recorded_at: datetime
    workspace_id: str
    mission_id: str | None = None
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    actor_type: str
    actor_id: str
    actor_principal_id: str | None = None
    zone: str
    stream_type: str
    stream_id: str
    stream_seq: int
    entity_type: str
    entity_id: str
    entity_version: int
    correlation_id: str
    causation_id: str | None = None
    redaction_level: str
    contains_secrets: bool
    data: dict[str, Any]
    idempotency_key: str | None = None
    prev_event_hash: str | None = None
    event_hash: str


class Run(Model):
    """One piece of work: ``queued``, ``running``, then ``succeeded``, ``failed`` or ``cancelled``."""

    run_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    experiment_id: str | None = None
    status: str
    title: str | None = None
    goal: str | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    tags: list[str] = Field(default_factory=list)
    max_attempts: int | None = None
    priority: int | None = None
    timeout_s: float | None = None
    attempt_no: int | None = None
    claim_token: str | None = None
    claimed_by_actor_id: str | None = None
    lease_expires_at: datetime | None = None
    lease_heartbeat_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime
    correlation_id: str

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status not in ("queued", "running")


class RunAttempt(Model):
    """One claim of a run."""

    run_attempt_id: str
    run_id: str
    attempt_no: int
    claim_token: str | None = None
    claimed_by_actor_id: str | None = None
    engine_id: str | None = None
    claimed_at: datetime
    released_at: datetime | None = None
    release_reason: str | None = None


class ClaimedRun(Model):
    """A run that is ours for as long as its lease is kept.

    ``fencing_token`` only grows: of two who believe to hold the run, the higher one does. ``replayed``: this answers an
    earlier request with the same key, so that part of the lease may be over.
    """

    run_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    title: str | None = None
    goal: str | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    correlation_id: str
    claim_token: str
    claimed_by_actor_id: str
    attempt_no: int
    fencing_token: int
    max_attempts: int = 1
    priority: int = 0
    timeout_s: float | None = None
    lease_ttl_s: float
    lease_expires_at: datetime
    lease_heartbeat_at: datetime
    replayed: bool = False


class Lease(Model):
    """What a heartbeat answers."""

    lease_expires_at: datetime
    lease_heartbeat_at: datetime
    #: A kill switch asks the run to stop: end what it does, then let go of it. ``stop_reason`` says which, and why.
    stop: bool = False
    stop_reason: str | None = None


class Step(Model):
    """A part of a run: ``queued``, ``running`` with its first tool call, then ``succeeded`` or ``failed``."""

    step_id: str
    run_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    kind: str
    status: str
    title: str | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created_at: datetime
    updated_at: datetime


class ToolCall(Model):
    """One use of a tool in a step: ``running``, then ``succeeded`` or ``failed``."""

    tool_call_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str
    step_id: str
    tool_name: str
    status: str
    title: str | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    started_at: datetime
    ended_at: datetime | None = None
    updated_at: datetime
    correlation_id: str


class Artifact(Model):
    """Something that a step made. Its content is in the member that ``content_type`` names; a large one is fetched
    with ``artifacts.content``."""

    artifact_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str
    step_id: str
    kind: str
    title: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str = "none"
    content_text: str | None = None
    content_json: Any = None
    content_uri: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    correlation_id: str


class Evidence(Model):
    """What proves a run: its events' window, pointers and hash root."""

    evidence_id: str
    run_id: str
    run_status: str
    manifest: dict[str, Any]
    manifest_hash: str
    event_hash_root: str
    event_count: int
    finalized_at: datetime


class Incident(Model):
    """Something that went wrong: ``open`` until its cause and a learning are on record, then ``closed``."""

    incident_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    status: str
    title: str
    summary: str | None = None
    severity: str
    rca: dict[str, Any] | None = None
    learning_count: int = 0
    closed_reason: str | None = None
    created_at: datetime
    closed_at: datetime | None = None
    updated_at: datetime
    correlation_id: str


class Approval(Model):
    """A request to act: ``pending`` or ``held``, then decided, expired or taken back."""

    approval_id: str
    workspace_id: str
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    action: str
    status: str
    title: str | None = None
    request: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)
    scope: dict[str, Any] = Field(default_factory=dict)
    action_digest: str | None = None
    decide_by: datetime | None = None
    expires_at: datetime | None = None
    requested_by_type: str
    requested_by_id: str
    requested_at: datetime
    decided_by_type: str | None = None
    decided_by_id: str | None = None
    decided_at: datetime | None = None
    decision: str | None = None
    decision_reason: str | None = None
    required_approvals: int = 1
    votes: list[dict[str, Any]] = Field(default_factory=list)
    notified_at: datetime | None = None
    seen_at: datetime | None = None
    delivered_at: datetime | None = None
    consumed_at: datetime | None = None
    uses: int = 0
    created_at: datetime
    updated_at: datetime
    correlation_id: str

    @property
    def open(self) -> bool:
        """Whether it waits for a decision."""
        return self.status in ("pending", "held")

    @property
    def granted(self) -> bool:
        """Whether it was allowed; ``consumed``: it has been used already."""
        return self.status in ("approved", "consumed")


class Grant(Model):
    """What an approval allows, for as long as it lasts: ``active``, ``revoked`` or ``lapsed``."""

    approval_id: str
    workspace_id: str
    room_id: str | None = None
    action: str
    scope: dict[str, Any] = Field(default_factory=dict)
    status: str
    max_uses: int | None = None
    uses: int = 0
    expires_at: datetime | None = None
    granted_by_id: str
    granted_at: datetime
    revoked_at: datetime | None = None
    revoke_reason: str | None = None


class Learning(Model):
    """What was learnt from an incident."""

    learning_id: str
    incident_id: str
    note: str
    tags: list[str] = Field(default_factory=list)
    created_at: datetime


class Engine(Model):
    """A registered engine."""

    engine_id: str
    workspace_id: str
    engine_name: str
    actor_id: str
    principal_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    status: str
    created_at: datetime
    updated_at: datetime
    deactivated_at: datetime | None = None
    deactivated_reason: str | None = None


class EngineToken(Model):
    """A token of an engine. ``engine_token``, the secret itself, is told once: when it is issued."""

    token_id: str
    engine_id: str
    token_label: str | None = None
    issued_at: datetime | None = None
    valid_until: datetime | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    engine_token: str | None = Field(default=None, repr=False)


class EngineDeactivated(Written):
    """``engine``: as it is now."""

    engine: Engine


class EngineRegistered(Written):
    """A registration: keep ``token.engine_token``, it is not told again."""

    engine: Engine
    token: EngineToken
