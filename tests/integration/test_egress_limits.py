"""Limits in Postgres: they do what the model does, hold over processes, and are taken all or not at all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import asyncpg
import pytest
import pytest_asyncio

from agentos_gateway.limits import limits
from agentos_gateway.limits.gcra import limit_of, take
from agentos_gateway.limits.limits import Charge, Limits, charges
from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.stack import Postgres

START: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)


async def open_pool(postgres: Postgres) -> Any:
    return await asyncpg.create_pool(
        postgres.gateway_url, min_size=1, max_size=4, server_settings={"search_path": "gw, public"}
    )


@pytest_asyncio.fixture
async def pool(postgres: Postgres) -> AsyncIterator[Any]:
    made = await open_pool(postgres)
    await made.execute("delete from gw_limits")
    yield made
    await made.close()


def rate(rule_id: str, requests: int, per_s: int, burst: int, subject: str | None = None) -> dict[str, Any]:
    told = {"requests": requests, "per_s": per_s, "burst": burst}
    return {"type": "rate_limit", "rule_id": rule_id, "subject": subject, **told}


async def test_the_database_does_what_the_model_does_whatever_its_clock_says(pool: Any) -> None:
    statement = limits.SQL["take"].replace("clock_timestamp()", "$4::timestamptz")
    random, limit, now, tat = Random(7), limit_of(20, 10, 5), START, None
    for _ in range(400):
        now += timedelta(milliseconds=random.choice((-3_000, -200, 0, 100, 400, 900)))
        taken = take(tat, now, limit)
        found = await pool.fetchval(statement, "model", limit.each, limit.span, now)
        assert (found is not None) is taken.allowed
        tat = taken.tat
        assert tat == (found or await pool.fetchval("select tat from gw_limits where key = 'model'"))


async def test_two_gateways_share_a_limit_and_a_restart_keeps_it(postgres: Postgres, pool: Any) -> None:
    other = await open_pool(postgres)
    wanted = charges("ws_1", [rate("egrl_1", 2, 600, 10)])
    both = [Limits(pool, CLOCK), Limits(other, CLOCK)]
    answers = await asyncio.gather(*(both[place % 2].take(wanted) for place in range(60)))
    await other.close()
    assert sum(answer is None for answer in answers) == 10
    exceeded = await Limits(pool, CLOCK).take(wanted)
    assert exceeded is not None
    assert 200 < exceeded.retry_after_s <= 300
    assert exceeded.told()["reason_code"] == "egress.rate_limited"


async def test_principals_have_their_own_and_the_workspace_its_own(pool: Any) -> None:
    held = Limits(pool, CLOCK)
    first, second = (charges("ws_1", [rate("egrl_1", 1, 600, 1, who)]) for who in ("ada", "ben"))
    assert await held.take(first) is None
    assert await held.take(second) is None
    assert await held.take(first) is not None
    assert await held.take(charges("ws_2", [rate("egrl_1", 1, 600, 1, "ada")])) is None


async def test_a_request_takes_all_of_its_limits_or_none(pool: Any) -> None:
    held = Limits(pool, CLOCK)
    wanted = charges("ws_1", [rate("egrl_a", 5, 600, 5), rate("egrl_b", 1, 600, 1)], per_hour=3)
    assert [charge.rule_id for charge in wanted] == ["egrl_a", "egrl_b", None]
    assert await held.take(wanted) is None
    kept = await pool.fetch("select key, tat from gw_limits order by key")
    for _ in range(4):
        exceeded = await held.take(wanted)
        assert exceeded is not None
        assert exceeded.charge.rule_id == "egrl_b"
    assert await pool.fetch("select key, tat from gw_limits order by key") == kept
    only_a = charges("ws_1", [rate("egrl_a", 5, 600, 5)], per_hour=3)
    assert [await held.take(only_a) is None for _ in range(3)] == [True, True, False]
    quota = await held.take(charges("ws_1", [], per_hour=3))
    assert quota is not None
    assert (quota.charge.reason_code, quota.charge.rule_id) == ("quota_exceeded", None)


async def test_without_limits_nothing_is_asked_and_what_came_back_is_forgotten(pool: Any) -> None:
    held = Limits(pool, CLOCK)
    assert await held.take(charges("ws_1", [{"type": "max_bytes", "request_bytes": 1, "response_bytes": None}])) is None
    await pool.execute("insert into gw_limits values ('old', now() - interval '1 s'), ('new', now() + interval '1 h')")
    await pool.execute(limits.SQL["forget"])
    assert [row["key"] for row in await pool.fetch("select key from gw_limits")] == ["new"]
    await pool.close()
    with pytest.raises(asyncpg.InterfaceError):
        await held.take([Charge("x", limit_of(1, 1, 1), None)])
