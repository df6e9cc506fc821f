"""A decision made again on what was captured with it is the same decision."""

from datetime import UTC, datetime
from typing import Any, Final

import orjson
from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.domain import principals
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.policy.basis import basis_of
from agentos_shared.domain.policy.evaluate import Judgement, basis, evaluate, settled
from agentos_shared.domain.policy.facts import (
    SEEDED_ACTIONS,
    ActionRule,
    AgentFact,
    Constraint,
    DataLabel,
    Effect,
    Facts,
    KillSwitch,
    Request,
    ZoneRule,
)

NOW: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
BOT: Final = principals.actor("ws_1", "agent", "agt_1")
ADA: Final = principals.actor("ws_1", "user", "ada")
DIGEST: Final = "sha256:" + "1" * 64
ASKING: Final = ZoneRule("require_approval", once=True)
ZONED: Final = ActionRule(
    "invoice.send",
    False,
    "high_stakes",
    False,
    external=True,
    by_zone={
        "sandbox": ZoneRule("deny"),
        "supervised": ZoneRule("require_approval"),
        "high_stakes": ASKING,
    },
)


class Says:
    """Policies that say one thing."""

    hash = "sha256:candidate"

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement

    def judge(self, request: Request, facts: Facts) -> Judgement:
        return self.judgement


@st.composite
def requests(draw: st.DrawFn) -> Request:
    members: dict[str, Any] = {
        "zone": draw(st.sampled_from(("sandbox", "supervised", "high_stakes"))),
        "actor": draw(st.sampled_from((ADA, BOT))),
        "principal_id": draw(st.sampled_from((None, BOT.principal_id))),
        "capability_token_id": draw(st.sampled_from((None, "token"))),
        "room_id": "room_1",
        "resource": "thing",
        "justification": draw(st.sampled_from((None, "asked"))),
    }
    kind = draw(st.sampled_from(("action", "tool_call", "data_access", "egress")))
    if kind == "tool_call":
        return Request("ws_1", "tool_call", "tool.call", digest=DIGEST, tool_name="shell", **members)
    if kind == "data_access":
        return Request("ws_1", "data_access", "data.read", digest=DIGEST, **members)
    if kind == "egress":
        return Request("ws_1", "egress", "external.write", digest=DIGEST, egress_host="example.org", **members)
    name = draw(st.sampled_from(("email.send", "artifact.create", "invoice.send", "odd.thing", "external.write")))
    return Request("ws_1", "action", name, digest=DIGEST, **members)


def approval(action: str, scope: dict[str, Any]) -> Approval:
    return Approval(
        workspace_id="ws_1",
        action=action,
        digest=DIGEST,
        requester=ADA,
        requested_at=NOW,
        room_id="room_1",
        thread_id=None,
        run_id=None,
        step_id=None,
        mission_id=None,
        zone="supervised",
        correlation_id="c-1",
        status="approved",
        scope=scope,
    )


@st.composite
def facts(draw: st.DrawFn, request: Request) -> Facts:
    scopes = draw(st.lists(st.sampled_from(("once", "workspace", "room")), unique=True))
    effects: tuple[Effect, ...] = ("deny", "require_approval", "warn")
    learned = draw(st.lists(st.sampled_from(effects), max_size=3))
    switches = draw(st.lists(st.sampled_from((KillSwitch("external_write"), KillSwitch("tool", "shell"))), max_size=2))
    return Facts(
        NOW,
        approvals={f"appr_{scope}": approval(request.action, {"type": scope, "room_id": "room_1"}) for scope in scopes},
        agent=draw(st.sampled_from((None, AgentFact("agt_1", BOT.principal_id), AgentFact("agt_1", "p", True)))),
        action=ZONED if request.action == "invoice.send" else SEEDED_ACTIONS.get(request.action),
        kill_switches=tuple(switches),
        kill_switch_known=draw(st.booleans()),
        label=draw(
            st.sampled_from((DataLabel(), DataLabel("restricted", "room_2"), DataLabel("sensitive_pii", None, ("x",))))
        ),
        constraints=tuple(Constraint(f"cst_{place}", effect) for place, effect in enumerate(learned)),
    )


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    names = st.lists(st.sampled_from(("one", "two")), unique=True, max_size=2).map(tuple)
    return Judgement(draw(st.booleans()), draw(names), draw(names), draw(names))


@given(st.data())
def test_settled_on_its_basis_it_is_the_decision(data: st.DataObject) -> None:
    request = data.draw(requests())
    known = data.draw(facts(request))
    judged = data.draw(judgements())
    kept = basis_of(orjson.loads(orjson.dumps(basis(request, known).told())))
    assert settled(request, kept, "sha256:candidate", judged) == evaluate(request, known, Says(judged))
