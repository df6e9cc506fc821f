"""Lists of approvals and grants, and the look for what is due, find their rows by an index."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from agentos_api.approval_timers import SQL as TIMERS
from agentos_api.reads.listing import Listing
from agentos_api.reads.paging import EARLIEST, LATEST
from agentos_api.routes import approval_review, approvals, grants
from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.domain import approval_decisions, principals, rooms
from agentos_shared.domain import approvals as domain
from agentos_shared.domain.approval_bodies import CreateApproval, DecideApproval
from agentos_shared.domain.decider import Command, Meta
from tests.fixtures.given import MOMENT, Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")


class Ticking(Given):
    tick = timedelta(milliseconds=1)


@pytest.fixture
async def api(postgres: Postgres) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """As the API, on a database with 90 approvals in a room and the workspace, a third of them granted."""
    own = await tables.open_session(postgres.projector_url)
    assert await tables.prepare(own, PROJECTIONS)
    history: Given = Ticking((rooms.create, Command(rooms.CreateRoom(title="R"), META, "room_1", None, "room_1")))
    for number in range(90):
        room, key = "room_1" if number % 2 else None, f"appr_{number:03}"
        body = CreateApproval.model_validate({"action": "x", "scope": {"type": "workspace"}})
        history = history.and_then(domain.create, Command(body, META, key, None, room, MOMENT))
        if number % 3 == 0:
            decision = DecideApproval(decision="approve")
            history = history.and_then(approval_decisions.decide, Command(decision, META, key, None, room, MOMENT))
    async with connected(postgres.owner_url) as owner:
        await insert(owner, history.events)
        await owner.execute("analyze")
    heads = {(e.stream_type, e.stream_id): e.stream_seq for e in history.events}
    async with own.transaction():
        await Applier(PROJECTIONS)(own, [Range(StreamKey(*key), 0, seq) for key, seq in heads.items()])
    await own.close()
    connection = await asyncpg.connect(
        postgres.api_url,
        server_settings={"enable_seqscan": "off", "enable_bitmapscan": "off", "plan_cache_mode": "force_custom_plan"},
    )
    yield connection
    await connection.close()


async def used(connection: "asyncpg.Connection[Any]", sql: str, *arguments: Any) -> set[str]:
    text = "\n".join(row[0] for row in await connection.fetch(f"explain (costs off) {sql}", *arguments))
    assert "Seq Scan on proj" not in text, text
    assert "Sort" not in text, text
    return set(re.findall(r"using (proj_\w+)", text)) - {"proj_checkpoints_pkey"}


@pytest.mark.parametrize("listing", [approvals.LISTING, grants.LISTING], ids=["proj_approvals", "proj_grants"])
async def test_each_filter_is_served_by_its_index(
    api: "asyncpg.Connection[Any]", listing: Listing, request: pytest.FixtureRequest
) -> None:
    table = request.node.callspec.id
    for served, index in ((None, "changed"), ("room_id", "of_room"), ("status", "of_status")):
        asked = ["room_1" if served == "room_id" else None, "active" if served == "status" else None]
        statement = listing.statements[served]
        assert await used(api, statement, "ws_1", 0, "", "", LATEST, "", 51, *asked) == {f"{table}_{index}"}


async def test_what_is_due_is_found_by_its_time(api: "asyncpg.Connection[Any]") -> None:
    first = (EARLIEST, "")
    assert await used(api, TIMERS["near"], MOMENT, *first, 500) == {"proj_approvals_due"}
    upto = MOMENT + timedelta(days=1, seconds=1)
    soon = await api.fetch(TIMERS["near"], upto, *first, 40)
    rest = await api.fetch(TIMERS["near"], upto, soon[-1]["due_at"], soon[-1]["approval_id"], 40)
    assert len({row["approval_id"] for row in [*soon, *rest]}) == 60, "those that nobody has decided"
    assert await api.fetch(TIMERS["near"], MOMENT, *first, 500) == []


async def test_what_was_decided_on_the_same_action_is_found_by_it(api: "asyncpg.Connection[Any]") -> None:
    asked = "ws_1", "appr_000", "x"
    assert await used(api, approval_review.SQL["decided"], *asked) == {"proj_approvals_of_action"}
    assert len(await api.fetch(approval_review.SQL["decided"], *asked)) == 29
    text = "\n".join(row[0] for row in await api.fetch(f"explain {approval_review.SQL['asked']}", "ws_1", MOMENT, "s"))
    assert "evt_events_type" in text
