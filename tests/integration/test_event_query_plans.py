"""Every filter of GET /v1/events finds its rows by an index, and by no scan of the whole store."""

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from agentos_api.reads.paging import MAX_SEQ
from agentos_api.reads.queries import Reader
from agentos_api.reads.waiting import Projected
from agentos_api.routes import events
from tests.fixtures.projecting import START, WORKSPACE, History, connected, insert
from tests.fixtures.stack import Postgres

NOTHING: dict[str, Any] = {
    "stream_type": None,
    "stream_id": None,
    "from_seq": 0,
    "before_seq": MAX_SEQ,
    "room_id": None,
    "thread_id": None,
    "run_id": None,
    "step_id": None,
    "correlation_id": None,
    "event_types": None,
    "subject_agent_id": None,
    "subject_principal_id": None,
    "after": None,
    "before": None,
    "direction": "asc",
}


class Explaining(Reader):
    """Answers with the plan instead of the rows."""

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        return await super().fetch(f"explain (costs off) {sql}", *arguments)


@pytest.mark.parametrize(
    ("asked", "indexes"),
    [
        ({"stream_type": "workspace", "stream_id": "ws"}, {"evt_events_pkey"}),
        ({"room_id": "room_x", "event_types": ["a", "b"]}, {"evt_events_pkey"}),
        ({"room_id": "room_x", "after": datetime(2026, 1, 1, tzinfo=UTC)}, {"evt_events_pkey"}),
        ({"thread_id": "th_x", "subject_principal_id": "p"}, {"evt_events_thread"}),
        ({"run_id": "run_x", "thread_id": "th_x"}, {"evt_events_run"}),
        ({"step_id": "step_x", "run_id": "run_x"}, {"evt_events_step"}),
        ({"correlation_id": "c", "before": datetime(2026, 1, 1, tzinfo=UTC)}, {"evt_events_correlation"}),
        ({"subject_agent_id": "agt_x", "event_types": ["a"]}, {"evt_events_data_agent"}),
        (
            {"subject_principal_id": "p", "event_types": ["a"]},
            {"evt_events_principal", "evt_events_data_principal", "evt_events_data_issued_to", "evt_events_event_id"},
        ),
        ({"event_types": ["a", "b"]}, {"evt_events_type", "evt_events_event_id"}),
        ({"before": datetime(2026, 1, 1, tzinfo=UTC)}, {"evt_events_type", "evt_events_event_id"}),
        ({"after": datetime(2026, 1, 1, tzinfo=UTC)}, {"evt_events_type", "evt_events_event_id"}),
        ({}, {"evt_events_type", "evt_events_event_id"}),
    ],
)
@pytest.mark.parametrize("direction", events.ORDERS)
async def test_a_filter_is_served_by_its_index(
    postgres: Postgres, direction: str, asked: dict[str, Any], indexes: set[str]
) -> None:
    # An empty table is scanned faster than any index, so that has to be forbidden to see what the planner could use.
    forbidden = {"enable_seqscan": "off", "plan_cache_mode": "force_custom_plan"}
    async with asyncpg.create_pool(postgres.api_url, min_size=1, max_size=1, server_settings=forbidden) as pool:
        filters = events.Filters(**NOTHING | asked | {"direction": direction})
        rows = await events.find(Explaining(pool, Projected(), "ws"), filters, filters.order.start, 101)
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan on evt_events" not in plan, plan
    assert set(re.findall(r"(?:using|Bitmap Index Scan on) (evt_events_\w+)", plan)) == indexes, plan


@pytest.mark.parametrize("direction", events.ORDERS)
async def test_times_in_a_stream_are_exact_though_clocks_differ(postgres: Postgres, direction: str) -> None:
    rng = random.Random(1)
    history = History()
    history.fill(1, 400)
    apart = [timedelta(seconds=rng.uniform(-4.9, 4.9)) for _ in history.events]
    stored = [
        event._replace(recorded_at=START + timedelta(seconds=number) + shift)
        for number, (event, shift) in enumerate(zip(history.events, apart, strict=True))
    ]
    async with connected(postgres.owner_url) as owner:
        await insert(owner, stored)
    (room,) = {event.stream_id for event in stored}
    async with asyncpg.create_pool(postgres.api_url, min_size=1, max_size=1) as pool:
        for _ in range(60):
            after, before = (START + timedelta(seconds=rng.randint(-20, 420)) for _ in range(2))
            asked = {"room_id": room, "after": rng.choice([None, after]), "before": rng.choice([None, before])}
            filters = events.Filters(**NOTHING | asked | {"direction": direction})
            rows = await events.find(Reader(pool, Projected(), WORKSPACE), filters, filters.order.start, 1000)
            expected = [
                event.stream_seq
                for event in stored
                if (filters.after is None or event.recorded_at > filters.after)
                and (filters.before is None or event.recorded_at < filters.before)
            ]
            assert [row["stream_seq"] for row in rows] == expected[:: 1 if direction == "asc" else -1]
