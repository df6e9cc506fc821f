"""Every rule of the pipeline, and which of two that hold comes first."""

from typing import Any

import pytest

from agentos_shared.domain.pipeline import STAGES, Evidence, Placed, Run, Scorecard, Standing, stage

QUEUED, RUNNING, DONE = Run("run_1", "queued"), Run("run_1", "running"), Run("run_1", "succeeded")
FAILED, CANCELLED = Run("run_1", "failed"), Run("run_1", "cancelled")
PROOF, OF_FAILED = Evidence("evd_1", "run_1", "succeeded"), Evidence("evd_1", "run_1", "failed")
PASS, WARN, FAIL = (Scorecard("scd_1", decision, "run_1", "evd_1") for decision in ("pass", "warn", "fail"))
GHOST = ("ghost_evidence_or_mismatch",)


def standing(**known: Any) -> Standing:
    return Standing(**{"entity_id": "run_1", "correlation_id": "c"} | known)


@pytest.mark.parametrize(
    ("known", "placed"),
    [
        # A closed experiment is left out, whatever else holds, and so is what belongs to it.
        ({"experiment_status": "closed"}, None),
        ({"experiment_status": "stopped", "run": RUNNING}, None),
        ({"experiment_status": "closed", "correlation_id": None, "open_incident_id": "inc_1"}, None),
        # Missing data comes before all other rules.
        ({"correlation_id": None}, Placed("1_inbox", ("missing_data",))),
        ({"entity_id": None, "run": FAILED}, Placed("1_inbox", ("missing_data",))),
        ({"correlation_id": "", "open_incident_id": "inc_1"}, Placed("1_inbox", ("missing_data",))),
        # What went wrong.
        ({"open_incident_id": "inc_1", "run": DONE, "scorecard": PASS, "evidence": PROOF}, Placed("6_demoted")),
        ({"open_incident_id": "inc_1", "run": QUEUED}, Placed("6_demoted")),
        ({"run": FAILED}, Placed("6_demoted")),
        ({"run": FAILED, "scorecard": PASS, "evidence": OF_FAILED}, Placed("6_demoted")),
        ({"run": CANCELLED}, Placed("6_demoted")),
        ({"scorecard": FAIL}, Placed("6_demoted")),
        ({"run": DONE, "scorecard": FAIL, "evidence": PROOF}, Placed("6_demoted")),
        ({"run": RUNNING, "scorecard": FAIL}, Placed("6_demoted")),
        # Evidence of a failed run, while the newest run is another.
        ({"evidence": OF_FAILED}, Placed("3_execute_workspace")),
        ({"run": DONE, "evidence": OF_FAILED}, Placed("3_execute_workspace")),
        ({"run": DONE, "evidence": OF_FAILED, "scorecard": PASS}, Placed("3_execute_workspace")),
        # Done, and not yet judged well.
        ({"run": DONE}, Placed("4_review_evidence")),
        ({"run": DONE, "evidence": PROOF}, Placed("4_review_evidence")),
        ({"run": DONE, "scorecard": WARN, "evidence": PROOF}, Placed("4_review_evidence")),
        # Judged well.
        ({"run": DONE, "scorecard": PASS, "evidence": PROOF}, Placed("5_promoted")),
        (
            {"run": DONE, "scorecard": Scorecard("scd_1", "pass", None, None), "evidence": PROOF},
            Placed("5_promoted"),
        ),
        ({"run": DONE, "scorecard": PASS}, Placed("4_review_evidence", GHOST)),
        (
            {"run": DONE, "scorecard": PASS, "evidence": Evidence("evd_1", "run_2", "succeeded")},
            Placed("4_review_evidence", GHOST),
        ),
        (
            {"run": DONE, "scorecard": Scorecard("scd_1", "pass", "run_2", "evd_1"), "evidence": PROOF},
            Placed("4_review_evidence", GHOST),
        ),
        (
            {"run": DONE, "scorecard": Scorecard("scd_1", "pass", "run_1", "evd_2"), "evidence": PROOF},
            Placed("4_review_evidence", GHOST),
        ),
        ({"run": RUNNING, "scorecard": PASS, "evidence": PROOF}, Placed("4_review_evidence", GHOST)),
        ({"scorecard": PASS}, Placed("4_review_evidence", GHOST)),
        # Under way; an approval that waits beside it does not hold it back here.
        ({"run": QUEUED}, Placed("3_execute_workspace")),
        ({"run": RUNNING}, Placed("3_execute_workspace")),
        ({"run": QUEUED, "approval_status": "pending"}, Placed("3_execute_workspace")),
        ({"run": RUNNING, "scorecard": WARN}, Placed("3_execute_workspace")),
        ({"approval_status": "pending"}, Placed("2_pending_approval")),
        ({"approval_status": "held", "experiment_status": "open"}, Placed("2_pending_approval")),
        ({"experiment_status": "open"}, Placed("1_inbox")),
        ({"experiment_status": "open", "scorecard": WARN}, Placed("1_inbox")),
        ({"scorecard": WARN}, Placed("1_inbox", ("unmatched_state",))),
        ({}, Placed("1_inbox", ("unmatched_state",))),
        ({"approval_status": "approved"}, Placed("1_inbox", ("unmatched_state",))),
    ],
)
def test_the_first_rule_that_holds_places_it(known: dict[str, Any], placed: Placed | None) -> None:
    assert stage(standing(**known)) == placed


def test_stages_are_six_in_order() -> None:
    assert [name[0] for name in STAGES] == list("123456")
