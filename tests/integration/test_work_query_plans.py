"""Lists of runs, tool calls and artifacts find their pages by an index for each filter, and page through all once."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from agentos_api.reads.oldest_first import START, OldestFirst
from agentos_api.reads.paging import EARLIEST, LATEST, MAX_SEQ
from agentos_api.routes import artifacts, runs, tool_calls
from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_shared.contracts.positions import Range, StreamKey
from tests.fixtures.projecting import WORKSPACE, connected, insert
from tests.fixtures.stack import Postgres
from tests.fixtures.work import Work

ANYWHERE = (0, "", "")
FIRST_RUN = (LATEST, MAX_SEQ, "")


@pytest.fixture
async def api(postgres: Postgres) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """As the API, on a database with 40 runs in two rooms, and what they did."""
    own = await tables.open_session(postgres.projector_url)
    assert await tables.prepare(own, PROJECTIONS)
    work = Work()
    for number in range(600):
        work.live(f"room_{number % 2}", f"run_{number % 40:02}", number * 7)
    async with connected(postgres.owner_url) as owner:
        await insert(owner, work.events)
        await owner.execute("analyze")
    heads = {(e.stream_type, e.stream_id): e.stream_seq for e in work.events}
    async with own.transaction():
        await Applier(PROJECTIONS)(own, [Range(StreamKey(*key), 0, seq) for key, seq in heads.items()])
    await own.close()
    connection = await asyncpg.connect(
        postgres.api_url,
        # A small table is scanned faster than any index, so that has to be forbidden to see what the planner could use.
        server_settings={"enable_seqscan": "off", "enable_bitmapscan": "off", "plan_cache_mode": "force_custom_plan"},
    )
    yield connection
    await connection.close()


async def plan(connection: "asyncpg.Connection[Any]", sql: str, *arguments: Any) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"explain (costs off) {sql}", WORKSPACE, *arguments))


def used(text: str) -> set[str]:
    assert "Seq Scan on proj" not in text, text
    return set(re.findall(r"(?:using|Bitmap Index Scan on) (proj_\w+)", text)) - {"proj_checkpoints_pkey"}


@pytest.mark.parametrize(
    ("served", "asked", "index"),
    [
        ("workspace_id", (None, None), "proj_runs_changed"),
        ("room_id", ("room_0", None), "proj_runs_of_room"),
        ("experiment_id", (None, "exp_1"), "proj_runs_of_experiment"),
        ("experiment_id", ("room_0", "exp_1"), "proj_runs_of_experiment"),
    ],
)
async def test_a_filter_of_runs_is_served_by_its_index(
    api: "asyncpg.Connection[Any]", served: str, asked: tuple[str | None, str | None], index: str
) -> None:
    arguments = (*ANYWHERE, list(runs.STATUSES), *FIRST_RUN, 51, *asked)
    assert used(await plan(api, runs.LISTS[served], *arguments)) == {index}


@pytest.mark.parametrize("listing", [tool_calls.LIST, artifacts.LIST], ids=["tool_calls", "artifacts"])
async def test_a_filter_of_what_happened_is_served_by_its_index(
    api: "asyncpg.Connection[Any]", listing: OldestFirst
) -> None:
    names = {"workspace_id": "oldest", "run_id": "of_run", "step_id": "of_step", "room_id": "of_room"}
    found = listing.statements()
    filters = [name for name in found if name != "workspace_id"]
    for served, statement in found.items():
        asked = ["x" if name == served else None for name in filters]
        text = await plan(api, statement, *ANYWHERE, *START, 51, *asked)
        assert {name.split("_", 2)[-1] for name in used(text)} in ({names[served]}, {f"calls_{names[served]}"}), text


async def test_steps_and_attempts_are_found_by_their_run(api: "asyncpg.Connection[Any]") -> None:
    steps = await plan(api, runs.SQL["list_steps"], "run_01", *ANYWHERE, EARLIEST, 0, 51)
    assert "proj_steps_of_run" in used(steps)
    attempts = await plan(api, runs.SQL["list_attempts"], "run_01", *ANYWHERE, 0, 51)
    assert "proj_run_attempts_pkey" in used(attempts)


async def test_pages_of_runs_hold_each_once_last_changed_first(api: "asyncpg.Connection[Any]") -> None:
    every = await api.fetch("select run_id from proj_runs order by updated_at desc, stream_seq desc, run_id desc")
    seen: list[str] = []
    after: Sequence[Any] = FIRST_RUN
    while True:
        asked = (*ANYWHERE, list(runs.STATUSES), *after, 7, None, None)
        page = [row for row in await api.fetch(runs.LISTS["workspace_id"], WORKSPACE, *asked) if row["run_id"]]
        if not page:
            break
        seen += [row["run_id"] for row in page]
        after = (page[-1]["updated_at"], page[-1]["stream_seq"], page[-1]["run_id"])
    assert seen == [row["run_id"] for row in every]
    assert len(seen) == 40
