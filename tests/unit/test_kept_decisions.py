"""The gateway's decisions: what is kept, for how long, and what becomes of them without an answer."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from agentos_gateway import decisions
from agentos_gateway.control_watch import Epoch
from agentos_gateway.decisions import Decisions
from agentos_shared.domain import principals
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.egress_match import EgressRule
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import Facts, Request
from agentos_shared.domain.policy.wire import request_of

ADA: Final = principals.actor("ws_1", "user", "ada")
START: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
WISH: Final = Request(
    "ws_1",
    "egress",
    "external.write",
    ADA,
    "sha256:" + "1" * 64,
    resource="https://example.org/a",
    egress_host="example.org",
    egress_method="GET",
    egress_port=443,
    egress_path="/a",
)
ALLOW: Final = EgressRule("egrl_1", "allow", "example.org", private=True, port=443)


class Clock:
    """Goes only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Service:
    """The gate behind a question, and the epochs beside it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.facts = Facts(START, egress_rules=(ALLOW,))
        self.questions = 0
        self.away = False
        self.changes: int | None = 1

    async def ask(self, subject: str, question: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
        self.questions += 1
        if self.away:
            raise TimeoutError
        told = []
        for one in question["requests"]:
            request, _ = request_of(one)
            told.append(evaluate(replace(request, zone="supervised"), replace(self.facts, now=self.clock.now())).told())
        return {"decisions": told, "policy_bundle_hash": "none"}

    def epoch(self, workspace_id: str) -> Epoch | None:
        return None if self.changes is None else Epoch(workspace_id, self.changes, "none")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(clock: Clock) -> Service:
    return Service(clock)


@pytest.fixture
def held(service: Service, clock: Clock) -> Decisions:
    return Decisions(service.ask, service, clock)


async def test_what_rules_allow_is_kept_with_what_goes_along(held: Decisions, service: Service) -> None:
    first = await held.decide(WISH)
    again = await held.decide(replace(WISH, digest="sha256:" + "2" * 64))
    assert (first.reason_code, service.questions) == ("egress.rule_allows", 1)
    assert again == replace(first, action_digest="sha256:" + "2" * 64)
    assert [one["type"] for one in again.obligations] == ["open_address"]


@pytest.mark.parametrize(
    "other",
    [
        {"actor": principals.actor("ws_1", "user", "ben")},
        {"workspace_id": "ws_2"},
        {"principal_id": "p"},
        {"capability_token_id": "t"},
        {"capability_scopes": {"rooms": ["room_1"]}},
        {"room_id": "room_1"},
        {"run_id": "run_1"},
        {"egress_method": "HEAD"},
        {"egress_path": "/b"},
        {"egress_port": 80},
        {"resource": "https://example.org/a?b"},
        {"action": "api.call.idempotent"},
    ],
)
async def test_another_request_is_asked_for(held: Decisions, service: Service, other: dict[str, Any]) -> None:
    await held.decide(WISH)
    await held.decide(replace(WISH, **other))
    assert service.questions == 2
    await held.decide(WISH, "high_stakes")
    assert service.questions == 3


async def test_nothing_is_kept_beyond_its_epoch(held: Decisions, service: Service) -> None:
    await held.decide(WISH)
    service.facts = replace(service.facts, egress_rules=(replace(ALLOW, effect="deny"),))
    assert (await held.decide(WISH)).allowed
    service.changes = 2
    assert (await held.decide(WISH)).reason_code == "egress.host_not_allowed"
    service.facts = replace(service.facts, egress_rules=(ALLOW,))
    assert (await held.decide(WISH)).allowed  # a refusal is not kept
    service.changes = None
    await held.decide(WISH)
    await held.decide(WISH)
    assert service.questions == 5


async def test_what_was_decided_before_a_change_is_of_the_epoch_before(held: Decisions, service: Service) -> None:
    answer = service.ask

    async def slow(subject: str, question: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
        told = await answer(subject, question, timeout)
        service.changes = 2  # while the answer was on its way
        return told

    held._ask = slow
    await held.decide(WISH)
    held._ask = answer
    await held.decide(WISH)
    assert service.questions == 2


async def test_it_ends_with_what_it_rests_on_and_by_age(held: Decisions, service: Service, clock: Clock) -> None:
    service.facts = replace(service.facts, egress_rules=(replace(ALLOW, expires_at=START + timedelta(seconds=3)),))
    assert (await held.decide(WISH)).allowed
    clock.seconds = 2.9
    assert (await held.decide(WISH)).allowed
    clock.seconds = 3.0
    assert (await held.decide(WISH)).reason_code == "external_write_requires_approval"
    service.facts = replace(service.facts, egress_rules=(ALLOW,))
    service.questions = 0
    await held.decide(WISH)
    clock.seconds += decisions.MAX_AGE_S
    await held.decide(WISH)
    assert service.questions == 2


async def test_what_an_approval_allows_is_not_kept(held: Decisions, service: Service) -> None:
    place = (None, None, None, None, None)
    approval = Approval("ws_1", "external.write", WISH.digest, ADA, START, *place, "supervised", "c", status="approved")
    service.facts = Facts(START, approvals={"appr_1": approval})
    assert (await held.decide(WISH)).approval_id == "appr_1"
    service.facts = Facts(START)
    assert not (await held.decide(WISH)).allowed


async def test_without_an_answer_it_is_a_denial(held: Decisions, service: Service) -> None:
    service.away = True
    decision = await held.decide(WISH)
    assert (decision.decision, decision.reason_code) == ("deny", "policy_unavailable")


async def test_only_so_many_are_kept(held: Decisions, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_KEPT", 2)
    for path in ("/a", "/b", "/c", "/a"):
        await held.decide(replace(WISH, egress_path=path))
    assert service.questions == 4
    await held.decide(replace(WISH, egress_path="/c"))
    assert service.questions == 4
