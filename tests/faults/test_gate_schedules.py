"""Whatever the schedule, nothing is done without a live allow, and what is allowed once is done once.

Calls of tools, decisions, switches, quarantine and revocations meet in random order, several at a time, over two
policy processes of which one is killed now and then. Afterwards the events are read in the order in which they were
appended (one API process draws their ids), and folded by the few lines below, which share nothing with the code that
they check.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from random import Random
from typing import Any, ClassVar, Final

import asyncpg
import httpx
import psutil
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults.cluster import Cluster
from tests.fixtures.stack import wait_until

SHORT, LONG, STEPS = 6, 100, 12
ASKING, FREE = "mail", "shell"
POLICIES: Final = f"""
@id("all") permit (principal, action, resource);
@id("mail.asks") @effect("require_approval")
forbid (principal, action in Action::"tool_call", resource == Tool::"{ASKING}");
@id("mail.here") @effect("require_approval")
forbid (principal, action == Action::"x", resource);
"""
SWITCHES: Final = (("workspace", None), ("tool", ASKING), ("tool", FREE), ("room", "room"), ("agent", "agent"))
#: Answers of the API; of the store's own trouble there is none here.
EXPECTED: Final = frozenset({200, 201, 400, 403, 404, 409, 503})
_workspaces = count(1)
EVENTS: Final = """
select event_id, event_type, entity_id, room_id, actor_id, recorded_at, content from evt_events
where workspace_id = $1 order by event_id
"""
chances = st.randoms(use_true_random=True)


@dataclass
class Told:
    """What the events say so far."""

    switches: set[tuple[str, str | None]] = field(default_factory=set)
    quarantined: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    acts: int = 0

    def take(self, event: dict[str, Any]) -> None:
        """Fold one event; an act, or the use of an approval, must be allowed by those before it."""
        data, kind, own = event["data"], event["event_type"], event["entity_id"]
        match kind:
            case "kill_switch.engaged":
                self.switches.add((data["scope"], data["target"]))
            case "kill_switch.released":
                self.switches.discard((data["scope"], data["target"]))
            case "agent.quarantined":
                self.quarantined.add(own)
            case "agent.unquarantined":
                self.quarantined.discard(own)
            case "agent.capability.revoked":
                self.ended.add(own)
            case "approval.decided":
                self.approvals[own] = {"live": data["decision"] == "approve", **data}
            case "approval.expired" | "approval.lapsed" | "approval.cancelled" | "grant.revoked":
                self.approvals[own] = {"live": False}
            case "approval.consumed" | "grant.used":
                self._use(event)
            case "tool.invoked":
                self._act(event)

    def _use(self, event: dict[str, Any]) -> None:
        own = event["entity_id"]
        approval = self.approvals.get(own, {"live": False})
        assert approval["live"], f"{own} is used, and allows nothing: {event}"
        assert event["recorded_at"] < datetime.fromisoformat(approval["expires_at"]), f"{own} is used after its end"
        assert ("workspace", None) not in self.switches, f"{own} is used while everything is stopped"
        self.uses[own] += 1
        if approval["scope"]["type"] == "once":
            assert self.uses[own] == 1, f"{own} was for one use"
            approval["live"] = False

    def _act(self, event: dict[str, Any]) -> None:
        self.acts += 1
        context, tool = event["policy_context"], event["data"]["tool_name"]
        assert context["decision"] == "allow"
        stopping = {("workspace", None), ("tool", tool), ("room", event["room_id"]), ("agent", event["actor_id"])}
        assert not self.switches & stopping, f"done while {self.switches} are engaged: {event}"
        assert event["actor_id"] not in self.quarantined
        assert context.get("capability_token_id") not in self.ended
        used = context.get("approval_id")
        assert (used is not None) == (tool == ASKING), "what needs an approval has one"
        if used is not None:
            assert self.uses[used] > 0


class Schedule(RuleBasedStateMachine):
    """One schedule, in a workspace of its own."""

    cluster: ClassVar[Cluster]
    acted: ClassVar[Counter[str]] = Counter()

    @initialize()
    def open(self) -> None:
        self.workspace_id = f"ws_gate_{next(_workspaces)}"
        limits = httpx.Limits(max_connections=16)
        headers = {"x-workspace-id": self.workspace_id}
        self.client = httpx.Client(base_url=self.cluster.stack.url, headers=headers, timeout=30, limits=limits)
        self.pool = ThreadPoolExecutor(8)
        self.room = self.done("/v1/rooms", title="Ops")["room_id"]
        run = self.done("/v1/runs", room_id=self.room)["run_id"]
        self.done(f"/v1/runs/{run}/start")
        step = self.done(f"/v1/runs/{run}/steps", kind="work")["step_id"]
        self.calls = f"/v1/steps/{step}/toolcalls"
        agent = self.done("/v1/agents", display_name="A")
        self.agent = {"actor_type": "agent", "actor_id": agent["agent_id"], "principal_id": agent["principal_id"]}
        self.tokens: list[str] = []
        self.approvals: list[str] = []
        self.grant_capability()

    def done(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.status_code in (200, 201), (path, answer.text)
        made: dict[str, Any] = answer.json()
        return made

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.status_code in EXPECTED, (path, answer.text)
        told: dict[str, Any] = answer.json()
        return told

    # --- what may happen

    def call(self, chance: Random) -> None:
        who = self.agent if chance.random() < 0.6 else {"actor_id": "ada"}
        more = {"capability_token_id": chance.choice(self.tokens)} if "principal_id" in who and self.tokens else {}
        tool = {"tool_name": chance.choice((ASKING, ASKING, FREE)), "input": {"n": chance.randrange(2)}}
        told = self.post(self.calls, **tool, **who, **(more if chance.random() < 0.5 else {}))
        self.acted[told.get("reason_code") or ("done" if "tool_call_id" in told else "refused")] += 1
        if told.get("decision") == "require_approval" and chance.random() < 0.8:
            self.ask(chance, told["action_digest"])

    def ask(self, chance: Random, digest: str) -> None:
        scope: dict[str, Any] = chance.choice(({"type": "once"}, {"type": "once"}, {"type": "room"}))
        where = {"room_id": self.room} if scope["type"] == "room" or chance.random() < 0.5 else {}
        made = self.done("/v1/approvals", action="tool.call", action_digest=digest, scope=scope, **where)
        self.approvals.append(made["approval_id"])
        self.decide(chance, made["approval_id"])

    def decide(self, chance: Random, approval_id: str | None = None) -> None:
        if approval_id is None and not self.approvals:
            return
        chosen = approval_id or chance.choice(self.approvals)
        decision = chance.choice(("approve", "approve", "approve", "deny", "hold"))
        self.post(f"/v1/approvals/{chosen}/decide", decision=decision)

    def consume(self, chance: Random) -> None:
        if self.approvals:
            chosen = chance.choice(self.approvals)
            digest = self.client.get(f"/v1/approvals/{chosen}").json()["approval"]["action_digest"]
            self.post(f"/v1/approvals/{chosen}/consume", action_digest=digest, room_id=self.room)

    def take_back(self, chance: Random) -> None:
        if self.approvals:
            self.post(f"/v1/grants/{chance.choice(self.approvals)}/revoke")

    def switch(self, chance: Random) -> None:
        scope, target = chance.choice(SWITCHES)
        named = {"room": self.room, "agent": self.agent["actor_id"]}.get(target or "", target)
        action = chance.choice(("engage", "release", "release"))
        self.post("/v1/policy/kill-switch", action=action, scope=scope, target=named, reason="trial")

    def quarantine(self, chance: Random) -> None:
        self.post(
            f"/v1/agents/{self.agent['actor_id']}/{chance.choice(('quarantine', 'unquarantine', 'unquarantine'))}"
        )

    def grant_capability(self, _: Random | None = None) -> None:
        owner = self.done("/v1/principals/legacy/ensure", actor_type="user", actor_id="owner")["principal"]
        given = {"issued_to_principal_id": self.agent["principal_id"], "scopes": {"tools": ["*"]}}
        granted = self.done("/v1/capabilities/grant", granted_by_principal_id=owner["principal_id"], **given)
        self.tokens.append(granted["token_id"])

    def revoke_capability(self, chance: Random) -> None:
        self.post("/v1/capabilities/revoke", token_id=chance.choice(self.tokens))

    # --- in which order

    @rule(chance=chances, times=st.integers(2, 7))
    def at_once(self, chance: Random, times: int) -> None:
        """Several things, nobody knows in which order; mostly calls."""
        calm = (self.consume, self.take_back, self.switch, self.quarantine, self.grant_capability, self.decide)
        acts = chance.choices((self.call, *calm, self.revoke_capability), weights=(8, 2, 1, 2, 1, 1, 1, 1), k=times)
        for doing in [self.pool.submit(act, Random(chance.random())) for act in acts]:
            doing.result()

    @rule(chance=chances, times=st.integers(2, 5))
    def the_same_many_times(self, chance: Random, times: int) -> None:
        """One call by several: of an approval for one use one gets it."""
        moment = chance.random()
        for doing in [self.pool.submit(self.call, Random(moment)) for _ in range(times)]:
            doing.result()

    @rule(chance=chances)
    def kill_the_policy_service(self, chance: Random) -> None:
        """Now and then, in the middle of it."""
        if chance.random() < 0.15:
            doing = [self.pool.submit(self.call, Random(chance.random())) for _ in range(4)]
            with contextlib.suppress(ProcessLookupError, KeyError, TypeError):  # it is dead already
                os.kill(self.cluster.stack.pid("policy"), signal.SIGKILL)
            for one in doing:
                one.result()

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        self.pool.shutdown()
        self.client.close()
        told = Told()
        for event in self.events():
            told.take(event)
        self.acted["acts"] += told.acts
        self.acted["uses"] += told.uses.total()

    def events(self) -> list[dict[str, Any]]:
        """Of the workspace, as they were appended."""

        async def read() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.cluster.stack.postgres_url)
            try:
                rows: list[asyncpg.Record] = await connection.fetch(EVENTS, self.workspace_id)
                return rows
            finally:
                await connection.close()

        return [{**row, **json.loads(row["content"])} for row in asyncio.run(read())]


@contextlib.contextmanager
def another_policy_process(cluster: Cluster) -> Iterator[None]:
    """A second one, which nobody kills: the two share the questions."""
    own = psutil.Process(cluster.stack.pid("policy")).environ() | {"AGENTOS_HEALTH_PORT": "0"}
    log = cluster.stack.data_dir / "logs" / "policy-2.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", "agentos_policy"], env=own, stderr=stream, stdout=stream)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def asking_for_mail(cluster: Cluster) -> Iterator[None]:
    """While policies are in force that ask for an approval of one tool."""
    policies = cluster.stack.data_dir / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "mail.cedar").write_text(POLICIES)
    with httpx.Client(base_url=cluster.stack.url, timeout=30) as client:

        def says(rule_id: str) -> bool:
            """Whether policies are in force with which this is decided so."""
            told = client.post("/v1/policy/evaluate", json={"action": "x"}).json()
            return rule_id in {rule["rule_id"] for rule in told["determining_rules"]}

        wait_until(lambda: says("mail.here"), 30)
        try:
            yield
        finally:
            (policies / "mail.cedar").unlink()
            wait_until(lambda: says("default_allow"), 30)


@pytest.mark.timeout(900)
def test_nothing_is_done_without_a_live_allow(cluster: Cluster, fault_seed: int, fault_rounds: int) -> None:
    class Here(Schedule):
        acted: ClassVar[Counter[str]] = Counter()

    Here.cluster = cluster
    with asking_for_mail(cluster), another_policy_process(cluster):
        run_state_machine_as_test(
            seed(fault_seed)(Here),
            settings=settings(
                max_examples=SHORT if fault_rounds == 1 else LONG,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # no shrinking: at other moments the schedule may well pass
                suppress_health_check=list(HealthCheck),
            ),
        )
    seen = Here.acted
    assert {"acts", "uses", "policy.rule_matched", "kill_switch_active", "agent_quarantined"} <= seen.keys(), seen
    assert seen["acts"] == seen["done"], "each answer that it is done is an act on record, and no other"


@pytest.mark.parametrize("failpoint", ["api.before_commit", "api.after_commit"])
def test_an_act_whose_append_was_cut_off_is_done_once_or_not_at_all(cluster: Cluster, failpoint: str) -> None:
    """The gate has allowed it; the process dies before, or right after, the act and the use of its approval commit."""

    class Here(Schedule):
        acted: ClassVar[Counter[str]] = Counter()

    Here.cluster = cluster
    with asking_for_mail(cluster):
        schedule = Here()
        schedule.open()
        wish = {"tool_name": ASKING, "input": {"n": 1}, "actor_id": "ada"}
        wait_until(lambda: schedule.post(schedule.calls, **wish).get("decision") == "require_approval", 30)
        digest = schedule.post(schedule.calls, **wish)["action_digest"]
        made = schedule.done("/v1/approvals", action="tool.call", action_digest=digest)["approval_id"]
        schedule.done(f"/v1/approvals/{made}/decide", decision="approve")
        dying = cluster.arm("api", failpoint)
        headers = {"idempotency-key": f"act-{failpoint}"}
        with contextlib.suppress(httpx.TransportError):
            schedule.client.post(schedule.calls, json=wish, headers=headers)
        cluster.wait_struck("api", dying)

        def answered() -> bool:
            try:
                again = schedule.client.post(schedule.calls, json=wish, headers=headers)
            except httpx.TransportError:
                return False
            return bool(again.status_code == 201)

        wait_until(answered, 30)
        assert schedule.post(schedule.calls, **wish).get("decision") == "require_approval"
        schedule.teardown()
        assert (schedule.acted["acts"], schedule.acted["uses"]) == (1, 1)
