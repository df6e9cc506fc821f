"""Scorecards: how well an experiment, a run or an agent did, by weighted metrics."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ActorType, Event, NewEvent, Stream
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.domain.evidence import Evidence

Decision = Literal["pass", "warn", "fail"]
PASS: Final = 0.75
WARN: Final = 0.5
MAX_METRICS: Final = 200


class Metric(BaseModel):
    """One figure, usually between 0 and 1."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    # What is missing is checked like any other value, so that it is the metrics that are invalid.
    key: str = Field("", min_length=1, max_length=200, validate_default=True)
    value: float = Field(None, validate_default=True)
    weight: float = Field(1.0, gt=0)


def _unique(metrics: list[Metric]) -> list[Metric]:
    if len({metric.key for metric in metrics}) < len(metrics):
        raise PydanticCustomError("metric_keys", "a key stands twice")
    return metrics


class RecordScorecard(CommandBody):
    """Scores something by a template. The score is the weighted mean of the metrics, within 0 and 1: from 0.75 it is a
    pass, from 0.5 a warning, else a failure."""

    template_key: str = Field(min_length=1, max_length=200)
    template_version: str = Field(min_length=1, max_length=64)
    metrics: Annotated[list[Metric], AfterValidator(_unique)] = Field(
        None, min_length=1, max_length=MAX_METRICS, validate_default=True
    )
    experiment_id: str | None = None
    run_id: str | None = None
    evidence_id: str | None = None
    agent_id: str | None = None
    principal_id: str | None = None
    rationale: str | None = Field(None, max_length=20_000)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    requires_evidence: bool = Field(
        default=False,
        description="Refuse without evidence_id, unless metadata.justification says why there is none.",
    )

    def speaker(self) -> tuple[ActorType, str]:
        """Who is responsible when nobody is named."""
        return "user", "ceo"


@dataclass(frozen=True, slots=True)
class Scorecard:
    """What decisions read of a scorecard: that it is there."""


def score(metrics: Sequence[Metric]) -> float:
    """The weighted mean, within 0..1."""
    total = math.fsum(metric.weight for metric in metrics)
    mean = math.fsum(metric.value * metric.weight for metric in metrics) / total
    return min(1.0, max(0.0, mean))


def decision(of: float) -> Decision:
    """What a score means."""
    return "pass" if of >= PASS else "warn" if of >= WARN else "fail"


def record(command: Command[RecordScorecard], view: View) -> list[NewEvent]:
    """``scorecard.recorded`` in the workspace's stream.

    Raises:
        Invalid: ``missing_evidence_for_template``, ``evidence_run_mismatch``.
        NotFound: ``evidence_not_found``.
    """
    body = command.body
    justification = body.metadata.get("justification")
    justified = isinstance(justification, str) and bool(justification.strip())
    if body.requires_evidence and body.evidence_id is None and not justified:
        raise Invalid(
            "missing_evidence_for_template",
            "This template requires evidence_id, or metadata.justification.",
        )
    if body.evidence_id is not None:
        evidence = view.get(Evidence, body.evidence_id)
        if evidence is None:
            raise NotFound("evidence_not_found", "There is no such evidence in this workspace.")
        if body.run_id is not None and evidence.run_id != body.run_id:
            raise Invalid("evidence_run_mismatch", "The evidence is of another run than run_id.")
    expect_version(command, view)
    metrics = [metric.model_dump() for metric in sorted(body.metrics, key=lambda metric: metric.key)]
    result = score(body.metrics)
    meta = command.meta
    return [
        NewEvent(
            event_type="scorecard.recorded",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="scorecard",
            entity_id=command.entity_id,
            run_id=body.run_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data={
                "scorecard_id": command.entity_id,
                "experiment_id": body.experiment_id,
                "run_id": body.run_id,
                "evidence_id": body.evidence_id,
                "agent_id": body.agent_id,
                "principal_id": body.principal_id,
                "template_key": body.template_key,
                "template_version": body.template_version,
                "metrics": metrics,
                "metrics_hash": "sha256:" + hashlib.sha256(canonical(metrics)).hexdigest(),
                "score": result,
                "decision": decision(result),
                "rationale": body.rationale,
                "metadata": body.metadata,
            },
        )
    ]


def evolve(state: Scorecard | None, event: Event) -> Scorecard | None:
    """Fold one event of a scorecard."""
    if event.event_type == "scorecard.recorded":
        return Scorecard()
    return state
