"""Runs: the cycle of an engine, claims from a deep queue, and queries and rebuild over a million events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any, Final

from bench import children, web
from bench.bench import Bench
from bench.environment import environment_of_the_baselines
from bench.report import Goal, Line, Series, at_least, below, times
from bench.stack import CLI, Cpu, agent_os

ENGINES: Final = 32
DEEP: Final = 100_000
SHALLOW: Final = 100
#: Few, so that a claim waits for the queue and not for other claims.
CLAIMERS: Final = 4
EVENTS: Final = 1_000_000
EVENTS_QUICK: Final = 50_000
#: What a run appends while the store is filled: itself, its start, its steps.
STEPS: Final = 48
EVENTS_OF_A_RUN: Final = 2 + STEPS
ROOMS: Final = 1000
READS: Final = 600
FLAT: Final = 1.25

OURS: Final = "Agent OS"
PROCRASTINATE: Final = "procrastinate"
NOOP: Final = "FastAPI no-op"

CYCLE: Final = (
    f"Each of {ENGINES} engines creates a run, claims one (which also starts it) and completes it, three requests, and "
    "again; what it claims may be another engine's. The whole stack works meanwhile: engine service, relay, projector, "
    "and the evidence of each run that has ended. procrastinate defers and works through as many jobs at a time in one "
    "process on the same Postgres server, without HTTP."
)
QUEUE: Final = (
    f"{CLAIMERS} engines; only the claim is timed. Each run that was claimed is completed and another one created, so "
    "that the queue stays as deep as it was."
)
FILLED: Final = (
    f"Runs with {STEPS} steps each, half of them in one room, the others in {ROOMS:,} rooms. One client reads one run "
    "after the other, up to 100 events an answer, each with its own correlation."
)


def cycle(bench: Bench) -> list[Line]:
    """Create, claim, start and complete over HTTP."""
    stack = bench.shared(agent_os)
    python = bench.shared(environment_of_the_baselines)
    rooms = [thread.room_id for thread in stack.threads(ENGINES)]
    stack.execute("create database procrastinate")
    claims: list[float] = []
    cpu_us: dict[str, list[float]] = {name: [] for name in ("api", "engine", "projector")}

    def ours() -> float:
        stack.settle()
        used = {name: Cpu(stack.pid(name)) for name in cpu_us}
        spec = {"port": stack.port, "workspace_id": "ws_dev", "engines": ENGINES, "rooms": rooms}
        answer = children.load("engines", spec | {"seconds": bench.seconds}, timeout_s=bench.seconds + 60)
        claims.append(answer["p99_ms"])
        for name, cpu in used.items():
            cpu_us[name].append(cpu.seconds() / answer["cycles"] * 1e6)
        return _per_s(answer)

    fresh = iter((True,))

    def jobs() -> float:
        stack.settle()
        spec = {"url": stack.database("procrastinate"), "engines": ENGINES, "seconds": bench.seconds}
        return _per_s(_in_baselines(str(python), "procrastinate_jobs", spec | {"install": next(fresh, False)}, bench))

    with web.baseline(bench, "fastapi_noop") as (port, _):
        requests = web.requests_file(bench, "noop", [web.request("/v1/threads/x/messages", web.MESSAGE, port)])

        def noop() -> float:
            stack.settle()
            return web.load(port, requests, bench.seconds).per_s

        found = bench.interleave("run cycle", "cycles/s", {OURS: ours, PROCRASTINATE: jobs, NOOP: noop})
    used = ", ".join(f"{name} {Series('', 'us', values)}" for name, values in cpu_us.items())
    note = f"p99 of a claim {Series('', 'ms', claims)}, CPU a cycle: {used}"
    mine = Series(OURS, "cycles/s", found[OURS].values, note)
    plain = Series(NOOP, "requests/s", found[NOOP].values)
    goals = [
        times("must", mine, found[PROCRASTINATE], 4, PROCRASTINATE),
        times("must", mine, plain, 0.2, "FastAPI no-op (1,000/s where that does 5,000)"),
    ]
    what = f"create, claim, start, complete over HTTP, {ENGINES} engines"
    return [Line("run cycle", what, mine, [found[PROCRASTINATE], plain], goals, [CYCLE])]


def deep_queue(bench: Bench) -> list[Line]:
    """Claims with 100 and with 100,000 queued runs."""
    stack = bench.shared(agent_os)
    p50: dict[int, list[float]] = {}
    depths = (SHALLOW, DEEP // 10 if bench.quick else DEEP)

    def claim(depth: int, *, fill: bool = False) -> float:
        stack.settle()
        spec = {"port": stack.port, "workspace_id": f"ws_queue_{depth}", "engines": CLAIMERS}
        asked = {"fill": depth if fill else 0, "seconds": 0 if fill else bench.seconds}
        answer = children.load("deep_queue", spec | asked, timeout_s=300)
        if fill:
            return 0.0
        p50.setdefault(depth, []).append(answer["p50_ms"])
        p99: float = answer["p99_ms"]
        return p99

    for depth in depths:
        with bench.working(f"queueing {depth:,} runs"):
            claim(depth, fill=True)
    names = {depth: f"{depth:,} queued" for depth in depths}
    found = bench.interleave("claim", "ms", {names[depth]: partial(claim, depth) for depth in depths})

    def series(depth: int) -> Series:
        return Series(f"p99, {names[depth]}", "ms", found[names[depth]].values, f"p50 {Series('', 'ms', p50[depth])}")

    shallow, deep = (series(depth) for depth in depths)
    ratio = deep.median / shallow.median
    goal = Goal("must", f"<= 2 x p99 with {SHALLOW} queued", f"{ratio:.2f} x", ratio <= 2)
    return [Line("claim", f"with {names[depths[1]]} runs", deep, [shallow], [goal], [QUEUE])]


@contextmanager
def filled_with_runs(bench: Bench) -> Iterator[dict[str, list[list[str]]]]:
    """The stack with all those events; yields pairs of a run and its correlation, ``hot`` and ``spread``."""
    stack = bench.shared(agent_os)
    rooms = [thread.room_id for thread in stack.threads(ROOMS + 1)]
    runs = (EVENTS_QUICK if bench.quick else EVENTS) // EVENTS_OF_A_RUN
    spec = {"port": stack.port, "rooms": rooms, "runs": runs, "steps": STEPS}
    yield children.load("fill_runs", spec, timeout_s=1800)


def queries(bench: Bench) -> list[Line]:
    """``GET /v1/events`` with a filter, over many events."""
    stack = bench.shared(agent_os)
    runs = bench.shared(filled_with_runs)
    stack.settle()
    p50: dict[str, list[float]] = {}

    def read(name: str, paths: list[str]) -> float:
        answer = children.load("reads", {"port": stack.port, "paths": paths, "count": READS}, timeout_s=120)
        p50.setdefault(name, []).append(answer["p50_ms"])
        p99: float = answer["p99_ms"]
        return p99

    measures: dict[str, Callable[[], float]] = {}
    for place, text in (("hot", "in the room with half of all"), ("spread", f"in {ROOMS:,} rooms")):
        for field, column in (("run_id", 0), ("correlation_id", 1)):
            name = f"{field}, {text}"
            paths = [f"/v1/events?{field}={pair[column]}" for pair in runs[place][:READS]]
            measures[name] = partial(read, name, paths)
    found = bench.interleave("events query", "ms", measures)
    events = int(stack.fetch("select count(*) from evt_events"))
    lines = []
    for field in ("run_id", "correlation_id"):
        hot, spread = (
            Series(f"p99, {name}", "ms", one.values, f"p50 {Series('', 'ms', p50[name])}")
            for name, one in found.items()
            if name.startswith(field)
        )
        middle = [median(times) for name, times in p50.items() if name.startswith(field)]
        ratio = middle[0] / middle[1]
        goals = [
            below("must", hot, 15, "p99"),
            Goal("must", "p50 <= 1.25 x that in small rooms", f"{ratio:.2f} x", ratio <= 1.25),
        ]
        lines.append(Line("events query", f"by {field} over {events:,} events", hot, [spread], goals, [FILLED]))
    return lines


def rebuild(bench: Bench) -> list[Line]:
    """All projections anew over a million events, and the memory that it takes."""
    stack = bench.shared(agent_os)
    bench.shared(filled_with_runs)
    stack.settle()
    early: list[float] = []
    late: list[float] = []

    def measure() -> float:
        stack.settle()
        command = [*CLI, "projections", "rebuild", "--json", "--data-dir", str(stack.data_dir)]
        answer = children.load("watched", {"command": command}, timeout_s=300)
        early.append(answer["early_mb"])
        late.append(answer["late_mb"])
        rate: float = answer["output"]["events"] / answer["output"]["seconds_to_switch"]
        return rate

    found = bench.interleave("rebuild", "events/s", {"rebuild": measure})
    events = int(stack.fetch("select count(*) from evt_events"))
    memory = [Series("", "MB", early), Series("", "MB", late)]
    ours = Series("rebuild", "events/s", found["rebuild"].values, f"memory {memory[0]}, in the second half {memory[1]}")
    growth = memory[1].median / memory[0].median
    flat = Goal("must", "memory flat: second half <= 1.25 x first", f"{growth:.2f} x", growth <= FLAT)
    goals = [at_least("must", ours, 60_000), flat, at_least("beyond", ours, 200_000)]
    return [Line("projections rebuild", f"runs and steps, {events:,} events", ours, [], goals, [FILLED])]


def _in_baselines(python: str, module: str, spec: dict[str, Any], bench: Bench) -> dict[str, Any]:
    return children.run_module(f"bench.baselines.{module}", spec, timeout_s=bench.seconds + 90, python=python)


def _per_s(answer: dict[str, Any]) -> float:
    return float(answer["cycles"] / answer["seconds"])


ROWS = {
    "the run cycle": cycle,
    "claims from a deep queue": deep_queue,
    "events queries over a million events": queries,
    "rebuilding a million events": rebuild,
}
