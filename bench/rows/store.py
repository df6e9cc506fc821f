"""Appending at the store: 64 callers, each waits for its answer; 1,000 streams, and one that all write to."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from agentos_runtime.settings import API_ROLE
from bench import children
from bench.baselines import message_db
from bench.bench import Bench, Unmeasured
from bench.load.sample import DATA
from bench.postgres import CALLERS, store_server
from bench.report import Line, Series, times

STREAMS: Final = 1000
OURS: Final = "Agent OS appender"
PROTOTYPE: Final = "bare group commit"
MESSAGE_DB: Final = "message-db"
PLPGSQL: Final = "plpgsql function"
WARM_S: Final = 0.5

SAME_SERVER: Final = (
    "One Postgres for all, with the settings of `agentos up` (fsync, full pages, synchronous commit on); the same "
    "event data of about 300 bytes. Ours and the bare group commit run in one Python process with 64 callers, "
    "message-db and the plpgsql function under pgbench with 64 prepared connections."
)


def append(bench: Bench) -> list[Line]:
    """Many streams, and one hot stream."""
    server = bench.shared(store_server)
    notes = [SAME_SERVER]
    measures: dict[tuple[str, str], Callable[[], float]] = {}
    seen: dict[tuple[str, str], list[dict[str, float]]] = {}

    def in_process(module: str, database: str, role: str, shape: str, name: str) -> float:
        answer = children.load(
            module,
            {
                "url": server.url(database, role),
                "streams": STREAMS if shape == "many" else 1,
                "callers": CALLERS,
                "seconds": bench.seconds,
                "warm_s": WARM_S,
            },
            timeout_s=bench.seconds + 60,
        )
        seen.setdefault((name, shape), []).append(answer)
        per_s: float = answer["per_s"]
        return per_s

    server.execute("postgres", "create database prototype", "create database plpgsql")
    server.psql("plpgsql", children.ROOT / "bench" / "baselines" / "plpgsql_append.sql")
    for shape in ("many", "hot"):
        measures[OURS, shape] = partial(in_process, "appender", "ours", API_ROLE, shape, OURS)
        measures[PROTOTYPE, shape] = partial(in_process, "prototype", "prototype", "agentos", shape, PROTOTYPE)
        measures[PLPGSQL, shape] = partial(server.pgbench, "plpgsql", _plpgsql(bench, shape), bench.seconds)
    try:
        message_db.install(server)
    except Unmeasured as missing:
        notes.append(str(missing))
    else:
        for shape in ("many", "hot"):
            script = _message_db(bench, shape)
            measures[MESSAGE_DB, shape] = partial(server.pgbench, message_db.DATABASE, script, bench.seconds)
    found = bench.interleave(
        "store append", "events/s", {f"{name}, {shape}": measure for (name, shape), measure in measures.items()}
    )

    def series(name: str, shape: str) -> Series | None:
        one = found.get(f"{name}, {shape}")
        if one is None:
            return None
        note = ""
        if answers := seen.get((name, shape)):
            p99 = Series("", "ms", [answer["p99_ms"] for answer in answers])
            cpu = Series("", "us", [answer["cpu_us"] for answer in answers])
            note = f"p99 of a call {p99}, CPU of the process {cpu} an event"
        return Series(name, one.unit, one.values, note)

    return [_line(shape, series, notes) for shape in ("many", "hot")]


def _line(shape: str, series: Callable[[str, str], Series | None], notes: list[str]) -> Line:
    ours, many = series(OURS, shape), series(OURS, "many")
    assert ours is not None
    assert many is not None
    beside = [one for name in (MESSAGE_DB, PLPGSQL, PROTOTYPE) if (one := series(name, shape)) is not None]
    if shape == "many":
        what = f"{CALLERS} callers, {STREAMS:,} streams (message-db: {STREAMS:,} categories)"
        goals = [
            times("must", ours, series(MESSAGE_DB, shape), 2.0, "message-db"),
            times("beyond", ours, series(PROTOTYPE, shape), 0.9, "bare group commit"),
        ]
    else:
        what = f"{CALLERS} callers, one hot stream"
        goals = [
            times("must", ours, series(MESSAGE_DB, shape), 10, "message-db"),
            times("must", ours, series(PLPGSQL, shape), 20, "plpgsql"),
            times("beyond", ours, many, 1.0, "our many streams"),
        ]
    return Line("store append", what, ours, beside, goals, notes)


def _plpgsql(bench: Bench, shape: str) -> Path:
    stream = "'room/' || :n" if shape == "many" else "'room/hot'"
    return _script(bench, f"plpgsql-{shape}", f"select append({stream}, 'message.created', '{_data()}'::jsonb);")


def _message_db(bench: Bench, shape: str) -> Path:
    stream = "('room' || :n || '-1')::varchar" if shape == "many" else "'hot-1'::varchar"
    return _script(
        bench,
        f"message-db-{shape}",
        f"select write_message(gen_random_uuid()::varchar, {stream}, 'message.created'::varchar, '{_data()}'::jsonb);",
    )


def _script(bench: Bench, name: str, statement: str) -> Path:
    path = bench.directory / f"{name}.pgbench"
    path.write_text(f"\\set n random(1, {STREAMS})\n{statement}\n", encoding="utf-8")
    return path


def _data() -> str:
    """The event data, spaced so that pgbench takes no ``:null`` for a variable of its own."""
    return json.dumps(DATA).replace("'", "''")


ROWS = {"appending at the store": append}
