"""Lists of agents, delegations, actions, constraints and labels are ranges of one index for each filter."""

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agentos_api.commands import ASKED
from agentos_api.reads.listing import Listing
from agentos_api.reads.paging import LATEST, MAX_SEQ
from agentos_api.routes import action_registry, agents, capabilities, constraints, kill_switches, resource_labels
from agentos_projector import tables
from agentos_projector.projections import PROJECTIONS
from tests.fixtures.stack import Postgres

NOWHERE = (0, "", "")


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


async def used(connection: "asyncpg.Connection[Any]", sql: str, *arguments: Any) -> set[str]:
    """The indexes of read models that a statement uses; it must scan and sort none of them."""
    text = "\n".join(row[0] for row in await connection.fetch(f"explain (costs off) {sql}", *arguments))
    assert "Seq Scan on proj" not in text, text
    assert not re.search(r"->  (Incremental )?Sort", text), text
    return set(re.findall(r"using (proj_\w+)", text)) - {"proj_checkpoints_pkey"}


@pytest.mark.parametrize(
    ("listing", "served", "index"),
    [
        (constraints.LISTING, None, "proj_constraints_changed"),
        (constraints.LISTING, "agent_id", "proj_constraints_of_agent"),
        (constraints.LISTING, "status", "proj_constraints_of_status"),
        (resource_labels.LISTING, None, "proj_resource_labels_changed"),
        (resource_labels.LISTING, "resource_id", "proj_resource_labels_of_resource"),
        (resource_labels.LISTING, "resource_type", "proj_resource_labels_of_type"),
    ],
)
async def test_each_filter_is_a_range_of_its_index(
    api: "asyncpg.Connection[Any]", listing: Listing, served: str | None, index: str
) -> None:
    filters = [name for name in listing.statements if name is not None]
    asked = ["x" if name == served else None for name in filters]
    assert await used(api, listing.statements[served], "ws", *NOWHERE, LATEST, "", 51, *asked) == {index}


async def test_pages_are_ranges_of_an_index(api: "asyncpg.Connection[Any]") -> None:
    page = agents.SQL["list_agents"], "ws", *NOWHERE, LATEST, "", 51, None
    assert await used(api, *page) == {"proj_agents_newest"}
    actions = action_registry.SQL["list_actions"], "ws", *NOWHERE, "", 51
    assert await used(api, *actions) == {"proj_actions_by_type"}
    edges = capabilities.SQL["list_delegations"], "ws", "p", *NOWHERE, LATEST, MAX_SEQ, 51
    assert await used(api, *edges) == {"proj_capabilities_handed_on", "proj_capabilities_handed_to"}


async def test_lookups_are_by_key(api: "asyncpg.Connection[Any]") -> None:
    assert await used(api, ASKED, "ws", "sha256:0") == {"proj_approvals_of_digest"}
    asked: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("get_switches", ("ws", "kill_1")),
        ("acts", ("ws", ["tool.invoked"], LATEST, 1_000)),
        ("stopped_runs", ("ws", *NOWHERE, 501)),
    )
    for name, arguments in asked:
        rows = await api.fetch(f"explain (costs off) {kill_switches.SQL[name]}", *arguments)
        text = "\n".join(row[0] for row in rows)
        assert "Seq Scan" not in text, text
