"""What the policy service asks before a decision reads ranges of indexes, however long the streams are."""

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agentos_policy.book import REACH_S, SQL
from agentos_policy.known import ALL_CHANGES, APPROVAL_ENDS, CHANGES
from agentos_policy.simulation import SQL as SIMULATION
from agentos_shared.domain import approval_decisions, approvals, messages, principals, rooms, threads
from agentos_shared.domain.approval_bodies import CreateApproval, DecideApproval
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.policy.replay import DECIDED
from tests.fixtures.given import MOMENT, Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")


@pytest.fixture
async def policy(postgres: Postgres) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """As the policy service, on a room of 300 messages and 30 approvals, a third of them granted."""
    history = Given((rooms.create, Command(rooms.CreateRoom(title="R"), META, "room_1", None, "room_1")))
    thread = Command(threads.CreateThread(title="T"), META, "th_1", "room_1", "room_1")
    history = history.and_then(threads.create, thread)
    for number in range(300):
        said = Command(messages.CreateMessage(content_md="x"), META, f"msg_{number}", "th_1", "room_1")
        history = history.and_then(messages.create, said)
    for number in range(30):
        body = CreateApproval.model_validate({"action": "x", "scope": {"type": "workspace"}})
        asked = Command(body, META, f"appr_{number:03}", None, "room_1", MOMENT)
        history = history.and_then(approvals.create, asked)
        if number % 3 == 0:
            granted = Command(DecideApproval(decision="approve"), META, f"appr_{number:03}", None, "room_1", MOMENT)
            history = history.and_then(approval_decisions.decide, granted)
    async with connected(postgres.owner_url) as owner:
        await insert(owner, history.events)
        await owner.execute("analyze")
    settings = {"enable_seqscan": "off", "enable_bitmapscan": "off", "plan_cache_mode": "force_custom_plan"}
    connection = await asyncpg.connect(postgres.policy_url, server_settings=settings)
    yield connection
    await connection.close()


async def plan(connection: "asyncpg.Connection[Any]", sql: str, *arguments: Any) -> str:
    text = "\n".join(row[0] for row in await connection.fetch(f"explain (costs off) {sql}", *arguments))
    assert "Seq Scan on evt" not in text, text
    return text


async def test_how_far_streams_have_come_and_what_changed_since(policy: "asyncpg.Connection[Any]") -> None:
    asked = (["room"], ["room_1"], [300], list(ALL_CHANGES))
    text = await plan(policy, SQL["moved"], *asked)
    assert re.search(r"using evt_events_pkey.*\n.*Index Cond:.*stream_seq > known\.seq", text), text
    (row,) = await policy.fetch(SQL["moved"], *asked)
    assert (row["seq"], len(row["ids"])) == (342, 10)
    (still,) = await policy.fetch(SQL["moved"], ["room"], ["room_1"], [342], list(ALL_CHANGES))
    assert (still["seq"], still["ids"]) == (342, None)


async def test_what_changed_lately_in_any_room(policy: "asyncpg.Connection[Any]") -> None:
    text = await plan(policy, SQL["lately"], "ws_1", list(ALL_CHANGES), float(REACH_S))
    assert re.search(r"using evt_events_type.*\n.*Index Cond:.*recorded_at >", text), text


async def test_all_that_counts_of_a_workspace(policy: "asyncpg.Connection[Any]") -> None:
    asked = ("ws_1", list(CHANGES), list(APPROVAL_ENDS))
    text = await plan(policy, SQL["load"], *asked)
    assert {"evt_events_type", "evt_events_entity"} <= set(re.findall(r"using (evt_events_\w+)", text)), text
    rows = await policy.fetch(SQL["load"], *asked)
    assert {row["entity_type"] for row in rows} == {"approval"}
    assert len(rows) == 20


async def test_decisions_of_a_time(policy: "asyncpg.Connection[Any]") -> None:
    place = ("ws_1", list(DECIDED), MOMENT, MOMENT, "ffffffff-ffff-ffff-ffff-ffffffffffff", 201)
    text = await plan(policy, SIMULATION["decisions"], *place)
    assert re.search(r"using evt_events_type.*\n.*Index Cond:.*recorded_at >=.*ROW", text), text
