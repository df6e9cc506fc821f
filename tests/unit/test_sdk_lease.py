"""A lease as its holder sees it, without a server."""

import pytest

from agentos.errors import Conflict, LeaseLost, NotFound, Unavailable
from agentos.holding import Holding
from agentos.models import ClaimedRun
from agentos.tools import error_of, object_of

RUN = ClaimedRun.model_validate(
    {
        "run_id": "run_1", "workspace_id": "w", "correlation_id": "c", "claim_token": "t", "claimed_by_actor_id": "a",
        "attempt_no": 1, "fencing_token": 1, "lease_ttl_s": 30, "lease_expires_at": "2026-11-24T05:30:30Z",
        "lease_heartbeat_at": "2026-11-24T05:30:00Z", "a_newer_member": 1,
    }
)  # fmt: skip


def test_a_lease_lasts_from_when_the_heartbeat_was_sent() -> None:
    now = 100.0
    holding = Holding(RUN, monotonic=lambda: now)
    assert holding.remaining_s == 30
    now = 120.0
    holding.extended(asked_at=115.0)
    assert (holding.remaining_s, holding.heartbeats) == (25, 1)


@pytest.mark.parametrize("code", ["lease_token_mismatch", "lease_expired", "run_not_running", "run_already_ended"])
def test_a_refusal_that_means_loss_ends_all_writing(code: str) -> None:
    told: list[str] = []
    holding = Holding(RUN, lambda: told.append("lost"))
    with pytest.raises(LeaseLost) as lost, holding.writing():
        raise Conflict(409, code, "no", {})
    assert (lost.value.code, holding.lost) == (code, code)
    with pytest.raises(LeaseLost), holding.writing():
        raise AssertionError("nothing is sent any more")
    holding.lose("stopping")
    assert (holding.lost, told) == (code, ["lost"])


@pytest.mark.parametrize(
    "error",
    [
        Conflict(409, "step_already_ended", "", {}),
        NotFound(404, "step_not_found", "", {}),
        Unavailable(503, "x", "", {}),
    ],
)
def test_other_refusals_are_what_they_are(error: Exception) -> None:
    holding = Holding(RUN)
    with pytest.raises(type(error)), holding.writing():
        raise error
    assert holding.lost is None


def test_results_are_json_objects() -> None:
    assert object_of(None) == {}
    assert object_of({"a": 1}) == {"a": 1}
    assert object_of([1]) == {"result": [1]}
    for odd in ({1}, {"a": object()}, float("nan")):
        with pytest.raises(TypeError, match="must be JSON"):
            object_of(odd)


def test_errors_keep_the_end_of_a_long_traceback() -> None:
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise ValueError("x" * 100_000)

    with pytest.raises(ValueError, match="xxx") as raised:
        deep(300)
    told = error_of(raised.value)
    assert told["type"] == "ValueError"
    assert len(told["message"]) == 2_000
    assert len(told["traceback"]) == 16_000
    assert told["traceback"].endswith("x\n")
