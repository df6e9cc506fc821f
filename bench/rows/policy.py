"""The gate: a decision by itself, a decision on record, a kill switch."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Final

import cedarpy

from agentos_policy.cedar import Bundle
from agentos_shared.domain import principals
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import Facts, Request
from bench import children, web
from bench.bench import Bench
from bench.children import Failed
from bench.report import Line, Series, below, times
from bench.stack import agent_os

POLICIES: Final = 200
TURNS: Final = 2_000
#: Asked anew each time, with another run, which the policies look at: nothing is remembered.
NEW: Final = "Agent OS, new each time"
SAME: Final = "Agent OS, the same again"
WHOLE: Final = "cedarpy, parsed, the whole set"
ONE: Final = "one client"
MANY: Final = f"{web.CONNECTIONS} clients"
MESSAGES: Final = f"messages, {web.CONNECTIONS} clients"

PURE: Final = (
    f"Processor time of one decision, on facts at hand, with {POLICIES} policies of Cedar for {POLICIES} actions. "
    "Beside it Cedar alone, its policies and entities parsed before, over all policies at once."
)
RECORDED: Final = (
    "POST /v1/policy/evaluate, allowed, one event each: from the API to the policy service and back, then the append. "
    "The whole stack works meanwhile."
)
KILLED: Final = (
    "Four connections ask without a pause for what a grant allows; from sending the wish to engage the switch to the "
    "last answer that still allows."
)


def pure(bench: Bench) -> list[Line]:
    """200 policies."""
    rules = "".join(
        f'forbid (principal, action == Action::"a.{n}", resource)\n'
        '    when { context.zone == "sandbox" || (context has run && context.run == "run_x") };\n'
        for n in range(POLICIES - 1)
    )
    text = "permit (principal, action, resource);\n" + rules
    bundle, whole = Bundle({"bench.cedar": text}, "sha256:bench"), cedarpy.PolicySet.from_str(text)
    facts = Facts(datetime(2026, 11, 24, tzinfo=UTC))
    ada = principals.actor("ws_dev", "user", "ada")
    wish = Request("ws_dev", "action", "a.7", ada, "sha256:" + "1" * 64, room_id="room_1")
    runs = (f"run_{number}" for number in count())
    question = {
        "principal": {"type": "User", "id": "ada"},
        "action": {"type": "Action", "id": "a.7"},
        "resource": {"type": "Room", "id": "room_1"},
        "context": {"zone": "supervised", "category": "action", "workspace": "ws_dev", "run": "run_1"},
    }
    entities = cedarpy.Entities.from_json_str("[]")
    measures: dict[str, Callable[[], float]] = {
        NEW: lambda: _us(evaluate(request, facts, bundle) for request in _new(wish, runs)),
        SAME: lambda: _us(evaluate(wish, facts, bundle) for _ in range(TURNS)),
        WHOLE: lambda: _us(cedarpy.is_authorized(question, whole, entities) for _ in range(TURNS)),
    }
    found = bench.interleave("policy decision", "us", measures)
    goals = [below("must", found[NEW], 60), below("beyond", found[SAME], 2, "the same again")]
    what = f"{POLICIES} policies, not recorded"
    return [Line("policy decision", what, found[NEW], [found[SAME], found[WHOLE]], goals, [PURE])]


def _new(wish: Request, runs: Iterator[str]) -> Iterator[Request]:
    for _ in range(TURNS):
        yield replace(wish, run_id=next(runs))


def _us(decisions: Iterator[object]) -> float:
    """Microseconds of processor time for each."""
    started = time.process_time()
    done = sum(1 for _ in decisions)
    return (time.process_time() - started) / done * 1e6


def recorded(bench: Bench) -> list[Line]:
    """Decisions over HTTP."""
    stack = bench.shared(agent_os)
    threads = stack.threads(web.CONNECTIONS)
    asking = [
        web.request("/v1/policy/evaluate", {"action": "report.read", "room_id": thread.room_id}, stack.port)
        for thread in threads
    ]
    saying = [web.request(f"/v1/threads/{thread.thread_id}/messages", web.MESSAGE, stack.port) for thread in threads]
    asks, says = web.requests_file(bench, "asks", asking), web.requests_file(bench, "says", saying)
    p99: list[float] = []

    def one() -> float:
        stack.settle()
        spec = {"port": stack.port, "requests": str(asks), "seconds": bench.seconds, "connections": 1}
        seen = children.load("http", spec, timeout_s=bench.seconds + 60)
        if seen["errors"] or not seen["requests"]:
            raise Failed(f"{seen['errors']} of {seen['requests']} decisions failed: {json.dumps(seen)}")
        p99.append(seen["p99_ms"])
        p50: float = seen["p50_ms"]
        return p50

    def many(requests: str) -> float:
        stack.settle()
        return web.load(stack.port, asks if requests == MANY else says, bench.seconds).per_s

    single = bench.interleave("decision on record", "ms", {ONE: one})[ONE]
    rates = bench.interleave(
        "decision on record", "requests/s", {MANY: lambda: many(MANY), MESSAGES: lambda: many(MESSAGES)}
    )
    late = Series("p99", "ms", p99)
    mine = replace(single, name="p50", note=f"p99 {late}")
    return [
        Line(
            "decision on record",
            ONE,
            mine,
            [],
            [below("must", mine, 6, "p50"), below("must", late, 20, "p99")],
            [RECORDED],
        ),
        Line(
            "decision on record",
            MANY,
            rates[MANY],
            [rates[MESSAGES]],
            [times("must", rates[MANY], rates[MESSAGES], 0.6, "plain appends")],
            [RECORDED, web.load_note()],
        ),
    ]


def killing(bench: Bench) -> list[Line]:
    """Engage and release."""
    stack = bench.shared(agent_os)
    trials = 20 if bench.quick else 100
    spec = {"port": stack.port, "workspace_id": "ws_killing", "trials": trials}
    with bench.working(f"engaging a kill switch {trials} times"):
        seen = children.load("killing", spec, timeout_s=trials * 5 + 60)
    worst = Series(
        "longest", "ms", [seen["max_ms"]], f"p50 {seen['p50_ms']:.1f} ms; after the answer {seen['after_ms']:.1f}"
    )
    return [
        Line(
            "kill switch",
            f"engage to the last allowed action, {trials} trials",
            worst,
            [],
            [below("must", worst, 100)],
            [KILLED],
        )
    ]


ROWS = {
    "deciding on 200 policies": pure,
    "deciding over HTTP, on record": recorded,
    "engaging a kill switch": killing,
}
