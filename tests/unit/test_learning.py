"""What follows from refusals: a pure chain of events, counted for each subject, that a person makes a constraint of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentos_shared.domain import agents, constraints, principals
from agentos_shared.domain.agents import AutoQuarantine, RegisterAgent
from agentos_shared.domain.constraints import ActivateConstraint, Constraint, RetireConstraint
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import Actor, NewEvent
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.policy import records
from agentos_shared.domain.policy.evaluate import evaluate, unavailable
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, AgentFact, Facts, KillSwitch, Request
from agentos_shared.domain.policy.learning import Counts, sanitised
from agentos_shared.domain.policy.records import EvaluatePolicy, Gated
from tests.fixtures.given import MOMENT, Given

AGENT = principals.actor("ws_1", "agent", "agt_1")
ADA = principals.actor("ws_1", "user", "ada")
META = Meta("ws_1", ADA, "c-1", "key-1")
KNOWN = Facts(MOMENT, agent=AgentFact("agt_1", AGENT.principal_id))


def gated(actor: Actor = AGENT, facts: Facts = KNOWN, *, asked: bool = False, **members: Any) -> Gated:
    told = {"action": "external.write", "actor": actor, "digest": "sha256:0", "context": {"to": "ada"}, **members}
    if actor.type == "agent":
        told.setdefault("principal_id", actor.principal_id)
    request = Request("ws_1", "action", **told)
    return replace(Gated(request, evaluate(request, facts)), asked_before=asked)


def ask(number: int, loaded: Gated) -> Command[EvaluatePolicy]:
    meta = META._replace(actor=loaded.request.actor)
    return Command(EvaluatePolicy(action=loaded.request.action), meta, f"dec_{number}", loaded=loaded)


def asked(*wishes: Gated) -> Given:
    return Given(*((records.evaluate, ask(number, wish)) for number, wish in enumerate(wishes)))


def after(told: Given, wish: Gated) -> Sequence[NewEvent]:
    return told.when(records.evaluate, ask(99, wish))


def types(events: Sequence[NewEvent]) -> list[str]:
    return [event.event_type for event in events]


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (None, "policy_unavailable"),
        (replace(KNOWN, kill_switches=(KillSwitch("workspace"),)), "kill_switch_active"),
        (replace(KNOWN, kill_switch_known=False), "kill_switch_unknown"),
        (replace(KNOWN, agent=AgentFact("agt_1", AGENT.principal_id, quarantined=True)), "agent_quarantined"),
    ],
)
def test_outages_and_stops_are_nobodys_mistakes(facts: Facts | None, reason: str) -> None:
    wish = gated(facts=facts or KNOWN)
    wish = replace(wish, decision=unavailable(wish.request)) if facts is None else wish
    told = Given()
    for number in range(5):
        told = told.and_then(records.evaluate, ask(number, wish))
    assert types(after(told, wish)) == ["policy.decided", "policy.denied"]
    assert (wish.decision.reason_code, wish.learned_ids) == (reason, ())


CHAIN = ["policy.decided", "policy.requires_approval", "learning.from_failure", "constraint.learned"]


def test_a_refusal_is_learned_from() -> None:
    events = after(Given(), gated())
    assert types(events) == CHAIN
    assert {event.stream for event in events} == {("workspace", "ws_1")}
    assert {event.correlation_id for event in events} == {"c-1"}
    _, refusal, failure, learned = events
    assert refusal.entity_id == failure.entity_id == "dec_99"
    assert (failure.data["category"], failure.data["decision"]) == ("action", "require_approval")
    assert (failure.data["blocked"], failure.data["context"]) == (True, {"to": "ada"})
    told = learned.data
    assert learned.entity_id == told["constraint_id"]
    assert told["constraint_id"].startswith("cst_")
    assert (told["seen_count"], told["repeat_count"], told["subject_key"]) == (1, 1, "agent:agt_1")
    assert (told["agent_id"], told["principal_id"]) == ("agt_1", AGENT.principal_id)
    assert told["pattern_hash"].startswith("sha256:")
    assert "POST /v1/approvals" in told["guidance"]


def test_what_is_allowed_teaches_nothing() -> None:
    allowed = gated(action="note.write")
    assert types(after(Given(), allowed)) == ["policy.decided"]
    assert allowed.learned_ids == ()


def test_the_second_time_is_a_mistake_repeated_and_each_time_counts() -> None:
    assert types(after(asked(gated()), gated())) == [*CHAIN, "mistake.repeated"]
    third = after(asked(gated(), gated()), gated())
    assert types(third) == CHAIN
    assert (third[-1].data["seen_count"], third[-1].data["repeat_count"]) == (3, 3)


def test_what_was_refused_in_other_rooms_counts() -> None:
    elsewhere = replace(gated(), elsewhere=Counts(1, 1))
    events = after(Given(), elsewhere)
    assert types(events) == [*CHAIN, "mistake.repeated"]
    assert (events[-1].data["seen_count"], events[-1].data["repeat_count"]) == (2, 2)
    told = asked(gated(), gated(), gated())
    behind = after(told, elsewhere)
    assert (behind[-1].data["seen_count"], behind[-1].data["repeat_count"]) == (4, 4)
    ahead = after(told, replace(gated(asked=True), elsewhere=Counts(9, 5)))
    assert types(ahead) == CHAIN
    assert (ahead[-1].data["seen_count"], ahead[-1].data["repeat_count"]) == (10, 5)


@pytest.mark.parametrize(
    "other",
    [
        gated(context={"to": "eve"}),
        gated(action="email.send", facts=replace(KNOWN, action=SEEDED_ACTIONS["email.send"])),
        gated(ADA),
        gated(room_id="room_1"),
        replace(gated(), mode="shadow"),
    ],
)
def test_something_else_is_counted_by_itself(other: Gated) -> None:
    learned = after(asked(gated(), gated()), other)[-1]
    assert (learned.event_type, learned.data["repeat_count"]) == ("constraint.learned", 1)


def test_asking_again_for_what_an_approval_was_asked_for_is_no_mistake() -> None:
    told = asked(gated(), *(gated(asked=True) for _ in range(5)))
    again = after(told, gated(asked=True))
    assert types(again) == CHAIN
    assert (again[-1].data["seen_count"], again[-1].data["repeat_count"]) == (7, 1)


@pytest.mark.parametrize(
    ("wish", "subject", "agent_id"),
    [
        (gated(), "agent:agt_1", "agt_1"),
        (gated(ADA, principal_id="p-1"), "principal:p-1", None),
        (gated(ADA), "actor:user:ada", None),
        (gated(principal_id=None), "actor:agent:agt_1", None),
        (gated(facts=Facts(MOMENT)), "actor:agent:agt_1", None),
        (gated(facts=Facts(MOMENT, agent=AgentFact("agt_2", "p-2"))), "actor:agent:agt_1", None),
    ],
)
def test_an_agent_answers_only_for_what_it_has_proved_to_be(wish: Gated, subject: str, agent_id: str | None) -> None:
    told = after(Given(), wish)[-1].data
    assert (told["subject_key"], told["agent_id"]) == (subject, agent_id)


def test_contexts_are_remembered_within_bounds_and_without_secrets() -> None:
    deep: Any = "x"
    for _ in range(10):
        deep = {"in": deep}
    told = sanitised({"api_key": "k", "text": "y" * 999, "deep": deep, "list": list(range(99)), "n": 1, "none": None})
    assert told["api_key"] == "[hidden]"
    assert (told["text"], told["list"]) == ("y" * 200, list(range(50)))
    assert told["deep"] == {"in": {"in": {"in": "[cut]"}}}
    assert (told["n"], told["none"]) == (1, None)


# -- what a person makes of it

LEARNED = asked(gated(), gated())
(ID,) = gated().learned_ids


def activate(meta: Meta = META, **members: Any) -> Command[ActivateConstraint]:
    return Command(ActivateConstraint.model_validate({"effect": "deny", **members}), meta, ID, ID)


def retire(meta: Meta = META, **members: Any) -> Command[RetireConstraint]:
    return Command(RetireConstraint.model_validate(members), meta, ID, ID)


def state(told: Given) -> Constraint:
    found = told.get(Constraint, ID)
    assert found is not None
    return found


def test_a_candidate_does_nothing_and_an_active_one_narrows() -> None:
    assert state(LEARNED).fact(ID, MOMENT) is None
    active = LEARNED.and_then(constraints.activate, activate(expires_at="2026-11-24T06:30:00Z"))
    fact = state(active).fact(ID, MOMENT)
    assert fact is not None
    known = replace(KNOWN, constraints=(fact,))
    for context in ({"to": "ada"}, {"to": "eve"}):
        decision = gated(facts=known, context=context).decision
        assert (decision.decision, decision.reason_code) == ("deny", "constraint.learned")
    assert gated(ADA, replace(known, agent=None)).decision.decision == "require_approval"
    assert gated(facts=known, action="note.write").decision.decision == "allow"
    assert state(active).fact(ID, MOMENT + timedelta(hours=1)) is None
    retired = active.and_then(constraints.retire, retire())
    assert state(retired).fact(ID, MOMENT) is None
    counted = active.and_then(records.evaluate, ask(7, gated()))
    assert (state(counted).seen, state(counted).status) == (3, "active")


def test_activation_and_retirement_happen_once() -> None:
    active = LEARNED.and_then(constraints.activate, activate())
    assert active.when(constraints.activate, activate(reason="again")) == []
    assert types(active.when(constraints.activate, activate(effect="warn"))) == ["constraint.activated"]
    retired = active.and_then(constraints.retire, retire())
    assert retired.when(constraints.retire, retire()) == []
    assert types(retired.when(constraints.activate, activate())) == ["constraint.activated"]


def test_only_a_person_decides_on_constraints() -> None:
    for actor in (AGENT, principals.actor("ws_1", "service", "cron")):
        meta = META._replace(actor=actor)
        wishes = ((constraints.activate, activate(meta)), (constraints.retire, retire(meta)))
        for decide, command in wishes:
            with pytest.raises(Forbidden) as caught:
                LEARNED.when(decide, command)
            assert caught.value.code == "activator_must_be_user"
    refused(NotFound, "constraint_not_found", lambda: Given().when(constraints.activate, activate()))
    refused(Invalid, "missing_effect", lambda: LEARNED.when(constraints.activate, activate(effect=None)))
    refused(Conflict, "constraint_not_active", lambda: LEARNED.when(constraints.retire, retire()))
    refused(Conflict, "version_conflict", lambda: LEARNED.when(constraints.activate, activate(expected_version=9)))


def test_quarantine_that_comes_by_itself_says_so() -> None:
    registered = Given((agents.register, Command(RegisterAgent(display_name="A"), META, "agt_1")))
    wish = Command(AutoQuarantine(reason_code="kill_switch_active"), META, "agt_1", "agt_1", loaded=MOMENT)
    (event,) = registered.when(agents.auto_quarantine, wish)
    assert (event.event_type, event.data["mode"]) == ("agent.quarantined", "auto")
    assert event.data["quarantine_reason"] == "auto_repeated_kill_switch_active"
    assert registered.and_then(agents.auto_quarantine, wish).when(agents.auto_quarantine, wish) == []
