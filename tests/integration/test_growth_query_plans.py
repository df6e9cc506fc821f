"""Lists of incidents, experiments, scorecards and lessons are ranges of one index for each filter."""

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agentos_api.reads.listing import Listing
from agentos_api.reads.paging import LATEST
from agentos_api.routes import experiments, incidents, lessons, scorecards
from agentos_projector import tables
from agentos_projector.projections import PROJECTIONS
from agentos_shared.store import run_events
from tests.fixtures.stack import Postgres


@pytest.fixture
async def api(postgres: Postgres) -> "AsyncIterator[asyncpg.Connection[Any]]":
    own = await tables.open_session(postgres.projector_url)
    assert await tables.prepare(own, PROJECTIONS)
    await own.close()
    connection = await asyncpg.connect(
        postgres.api_url,
        # An empty table is scanned faster than any index: forbidden, to see what the planner could use. A generic plan,
        # as a prepared statement gets after some calls.
        server_settings={
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
            "enable_sort": "off",
            "plan_cache_mode": "force_generic_plan",
        },
    )
    yield connection
    await connection.close()


async def plan(connection: "asyncpg.Connection[Any]", sql: str, *arguments: Any) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"explain (costs off) {sql}", *arguments))


@pytest.mark.parametrize(
    ("listing", "served", "index"),
    [
        (incidents.LISTING, None, "proj_incidents_changed"),
        (incidents.LISTING, "room_id", "proj_incidents_of_room"),
        (incidents.LISTING, "status", "proj_incidents_of_status"),
        (experiments.LISTING, None, "proj_experiments_changed"),
        (experiments.LISTING, "room_id", "proj_experiments_of_room"),
        (experiments.LISTING, "status", "proj_experiments_of_status"),
        (scorecards.LISTING, None, "proj_scorecards_newest"),
        (scorecards.LISTING, "run_id", "proj_scorecards_of_run"),
        (scorecards.LISTING, "experiment_id", "proj_scorecards_of_experiment"),
        (scorecards.LISTING, "agent_id", "proj_scorecards_of_agent"),
        (lessons.LISTING, None, "proj_lessons_newest"),
        (lessons.LISTING, "run_id", "proj_lessons_of_run"),
        (lessons.LISTING, "experiment_id", "proj_lessons_of_experiment"),
        (lessons.LISTING, "scorecard_id", "proj_lessons_of_scorecard"),
        (lessons.LISTING, "incident_id", "proj_lessons_of_incident"),
    ],
)
async def test_each_filter_is_a_range_of_its_index(
    api: "asyncpg.Connection[Any]", listing: Listing, served: str | None, index: str
) -> None:
    filters = [name for name in listing.statements if name is not None]
    asked = ["x" if name == served else None for name in filters]
    text = await plan(api, listing.statements[served], "ws", 0, "", "", LATEST, "", 51, *asked)
    used = set(re.findall(r"using (proj_\w+)", text)) - {"proj_checkpoints_pkey"}
    assert (used, "Sort" in text, "Seq Scan on proj" in text) == ({index}, False, False), text


async def test_runs_of_an_experiment_are_counted_by_their_index(api: "asyncpg.Connection[Any]") -> None:
    text = await plan(api, run_events.SQL["active_runs"], "exp_1", ["run.completed"])
    assert "using evt_events_run_experiment" in text, text
    assert "Join" not in text, text
