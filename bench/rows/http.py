"""Appending over HTTP: the running stack beside FastAPI apps, one by one and in bulk."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from bench import web
from bench.bench import Bench
from bench.children import ROOT
from bench.report import Line, Series, times
from bench.stack import Cpu, Stack, Thread, agent_os
from bench.web import CONNECTIONS, MESSAGE

THREADS: Final = 1000
BULK: Final = 20
OURS: Final = "Agent OS"
ASYNCPG: Final = "FastAPI + asyncpg, a transaction each"
NOOP: Final = "FastAPI no-op"

WHOLE_STACK: Final = (
    "While ours is measured the whole stack works: the relay publishes to NATS and the projector fills its tables, on "
    "the same cores. What they still have to do afterwards is waited for before the next figure. The baselines have "
    "neither. All use one server process under uvicorn (httptools, uvloop) and the same Postgres server."
)


@dataclass(slots=True)
class _Target:
    """One server, and what was seen of it besides the rate."""

    port: int
    pid: int
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)


def append(bench: Bench) -> list[Line]:
    """Many streams, one hot stream, bulk."""
    stack = bench.shared(agent_os)
    stack.execute("create database baseline")
    threads = stack.threads(THREADS)
    with ExitStack() as servers:
        schema = (ROOT / "bench" / "baselines" / "plpgsql_append.sql").read_text(encoding="utf-8")
        replace(stack, postgres_url=stack.database("baseline")).execute(schema)
        env = {"BASELINE_POSTGRES_URL": stack.database("baseline")}
        ours = _Target(stack.port, stack.pid("api"))
        plain = _Target(*servers.enter_context(web.baseline(bench, "fastapi_asyncpg", env)))
        noop = _Target(*servers.enter_context(web.baseline(bench, "fastapi_noop")))
        measures: dict[str, Callable[[], float]] = {}
        targets: dict[str, tuple[_Target, str]] = {}

        def add(name: str, target: _Target, shape: str, requests: list[str], events: int = 1) -> None:
            file = web.requests_file(bench, f"{target.port}-{shape}", requests)

            def measure() -> float:
                stack.settle()
                cpu = Cpu(target.pid)
                seen = web.load(target.port, file, bench.seconds)
                target.cpu_us.setdefault(shape, []).append(cpu.seconds() / (seen.requests * events) * 1e6)
                target.p99_ms.setdefault(shape, []).append(seen.p99_ms)
                return seen.per_s * events

            measures[f"{name}, {shape}"] = measure
            targets[f"{name}, {shape}"] = (target, shape)

        add(OURS, ours, "many", _single(ours, threads))
        add(ASYNCPG, plain, "many", _single(plain, threads))
        add(NOOP, noop, "many", _single(noop, threads))
        add(OURS, ours, "hot", _single(ours, threads[:1]))
        add(ASYNCPG, plain, "hot", _single(plain, threads[:1]))
        add(OURS, ours, "bulk", _bulk(stack, threads), BULK)
        found = bench.interleave("HTTP append", "events/s", measures)
        stack.settle()
    return _lines({name: _noted(series, *targets[name]) for name, series in found.items()})


def _lines(found: dict[str, Series]) -> list[Line]:
    def series(name: str, shape: str) -> Series:
        return replace(found[f"{name}, {shape}"], name=name)

    many, hot, bulk = series(OURS, "many"), series(OURS, "hot"), series(OURS, "bulk")
    noop = series(NOOP, "many")
    notes = [WHOLE_STACK, web.load_note()]
    return [
        Line(
            "HTTP append",
            f"{CONNECTIONS} connections, {THREADS:,} threads in {THREADS:,} rooms",
            many,
            [series(ASYNCPG, "many"), noop],
            [
                times("must", many, series(ASYNCPG, "many"), 2.5, "FastAPI + asyncpg"),
                times("beyond", many, noop, 1.2, "FastAPI no-op (6,000/s where that does 5,000)"),
            ],
            notes,
        ),
        Line(
            "HTTP append",
            f"{CONNECTIONS} connections, one hot thread",
            hot,
            [series(ASYNCPG, "hot"), noop],
            [
                times("must", hot, series(ASYNCPG, "hot"), 5, "FastAPI + asyncpg"),
                times("must", hot, many, 0.9, "our many threads"),
                times("beyond", hot, noop, 1.2, "FastAPI no-op (6,000/s where that does 5,000)"),
            ],
            notes,
        ),
        Line(
            "HTTP bulk",
            f"{BULK} messages in a request, {CONNECTIONS} connections",
            bulk,
            [replace(many, name="our single form"), noop],
            [
                times("must", bulk, many, 4, "our single form"),
                times("beyond", bulk, noop, 5, "FastAPI no-op (25,000/s where that does 5,000)"),
            ],
            notes,
        ),
    ]


def _noted(series: Series, target: _Target, shape: str) -> Series:
    p99 = Series("", "ms", target.p99_ms[shape])
    cpu = Series("", "us", target.cpu_us[shape])
    return replace(series, note=f"p99 {p99}, CPU of the server {cpu} an event")


def _single(target: _Target, threads: list[Thread]) -> list[str]:
    return [web.request(f"/v1/threads/{thread.thread_id}/messages", MESSAGE, target.port) for thread in threads]


def _bulk(stack: Stack, threads: list[Thread]) -> list[str]:
    """Each request writes to 20 threads, so that all requests together write to all."""
    return bulk_requests(stack, threads, BULK)


def bulk_requests(stack: Stack, threads: list[Thread], size: int) -> list[str]:
    """Requests of ``size`` messages each, over all threads."""
    return [
        web.request(
            "/v1/commands",
            {
                "commands": [
                    {"type": "message.create", "body": {"thread_id": thread.thread_id, **MESSAGE}}
                    for thread in threads[start : start + size]
                ]
            },
            stack.port,
        )
        for start in range(0, len(threads), size)
    ]


ROWS = {"appending over HTTP, singly and in bulk": append}
