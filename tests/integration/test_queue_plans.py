"""A claim reads the first rows of an index, whatever else waits."""

import asyncpg
import pytest

from agentos_engine import claims, tables, timers
from tests.fixtures.stack import Postgres

FILL = """
insert into eng_runs (run_id, workspace_id, room_id, handler, tags, priority, created_event, version, state, due_at)
select
    'run_' || n, 'ws_' || n % 3, 'room_' || n % 50, 'handler_' || n % 7, array['tag_' || n % 20], n % 5,
    gen_random_uuid(), 1, case when n % 10 = 0 then 'held' else 'queued' end,
    case when n % 10 = 0 then clock_timestamp() + n * interval '1 second' end
from generate_series(1, 20000) n
"""
ONE = [["ws_1"], [1], [None]]
CASES = [
    ("pick_any", ONE, "eng_runs_ready "),
    ("pick_rooms", [*ONE, ['["room_1"]']], "eng_runs_ready_room "),
    ("pick_handlers", [*ONE, [None], ['["handler_1"]']], "eng_runs_ready_handler "),
    ("pick_any_tagged", [["ws_1"], [1], ['["tag_1"]']], "eng_runs_ready"),
]


@pytest.mark.parametrize(("statement", "arguments", "index"), CASES)
async def test_claims_read_an_index_in_order(
    postgres: Postgres, statement: str, arguments: list[object], index: str
) -> None:
    plan = await _plan(postgres, claims.SQL[statement], *arguments)
    assert f"using {index}" in plan or f"on {index}" in plan, plan
    assert "Seq Scan" not in plan, plan
    if "tagged" not in statement:
        [read] = [line for line in plan.splitlines() if f"using {index}" in line]
        assert "rows=1.00" in read, plan  # one, not all that wait


@pytest.mark.parametrize(("statement", "arguments"), [("next", ()), ("due", (100,))])
async def test_the_sweep_reads_what_is_due(postgres: Postgres, statement: str, arguments: tuple[int, ...]) -> None:
    plan = await _plan(postgres, timers.SQL[statement], *arguments)
    assert "eng_runs_due" in plan, plan
    assert "Seq Scan" not in plan, plan


async def _plan(postgres: Postgres, statement: str, *arguments: object) -> str:
    connection = await asyncpg.connect(postgres.engine_url, server_settings=tables.SESSION)
    try:
        await tables.prepare(connection)
        await connection.execute(FILL)
        await connection.execute("analyze eng_runs")
        rows = await connection.fetch(f"explain (analyze, costs off, timing off) {statement}", *arguments)
        return "\n".join(row[0] for row in rows)
    finally:
        await connection.close()
