"""The pipeline: in which of six stages an experiment, a run, an approval or a scorecard stands.

The stage follows from what is known of the entity and of what is linked to it, by one rule; see :func:`stage`.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Stage = Literal["1_inbox", "2_pending_approval", "3_execute_workspace", "4_review_evidence", "5_promoted", "6_demoted"]
STAGES: Final[tuple[Stage, ...]] = (
    "1_inbox",
    "2_pending_approval",
    "3_execute_workspace",
    "4_review_evidence",
    "5_promoted",
    "6_demoted",
)
EntityType = Literal["approval", "experiment", "run", "scorecard"]


class Run(NamedTuple):
    """The entity itself, or the newest run of an experiment."""

    run_id: str
    status: str


class Evidence(NamedTuple):
    """What the run left."""

    evidence_id: str
    run_id: str
    run_status: str


class Scorecard(NamedTuple):
    """The entity itself, or the newest one of the run or experiment."""

    scorecard_id: str
    decision: str
    run_id: str | None
    evidence_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of an entity. What there is not is None.

    Args:
        experiment_status: of the experiment itself, or of the one that it belongs to.
        approval_status: of an approval, or of one that is linked.
        open_incident_id: an open incident on the run.
    """

    entity_id: str | None
    correlation_id: str | None
    experiment_status: str | None = None
    approval_status: str | None = None
    run: Run | None = None
    evidence: Evidence | None = None
    scorecard: Scorecard | None = None
    open_incident_id: str | None = None


class Placed(NamedTuple):
    """A stage, and what is odd about the entity."""

    stage: Stage
    diagnostics: tuple[str, ...] = ()


def stage(of: Standing) -> Placed | None:
    """Where an entity stands; None: it is left out."""
    status = of.run.status if of.run else None
    decision = of.scorecard.decision if of.scorecard else None
    if of.experiment_status in ("closed", "stopped"):
        return None
    if not of.entity_id or not of.correlation_id:
        return Placed("1_inbox", ("missing_data",))
    if of.open_incident_id is not None:
        return Placed("6_demoted")
    if status in ("failed", "cancelled") or decision == "fail":
        return Placed("6_demoted")
    if of.evidence is not None and of.evidence.run_status == "failed":
        return Placed("3_execute_workspace")
    if status == "succeeded" and decision in (None, "warn"):
        return Placed("4_review_evidence")
    if of.scorecard is not None and decision == "pass":
        proven = status == "succeeded" and _belong_together(of.run, of.evidence, of.scorecard)
        return Placed("5_promoted") if proven else Placed("4_review_evidence", ("ghost_evidence_or_mismatch",))
    if status in ("queued", "running"):
        return Placed("3_execute_workspace")
    if of.approval_status in ("pending", "held"):
        return Placed("2_pending_approval")
    if of.experiment_status == "open":
        return Placed("1_inbox")
    return Placed("1_inbox", ("unmatched_state",))


def _belong_together(run: Run | None, evidence: Evidence | None, scorecard: Scorecard) -> bool:
    """Whether the evidence is the run's, and the scorecard speaks of no other run or evidence."""
    return (
        run is not None
        and evidence is not None
        and evidence.run_id == run.run_id
        and scorecard.run_id in (None, run.run_id)
        and scorecard.evidence_id in (None, evidence.evidence_id)
    )
