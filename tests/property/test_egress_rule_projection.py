"""Egress rules: however their history is cut into batches, the rows that are in force are as folded."""

import contextlib
from collections.abc import Sequence
from itertools import count
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.domain import egress_rules, principals
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.egress_rules import EgressRules, RemoveEgressRule, SetEgressRule, rules_id
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError
from tests.fixtures.given import MOMENT, Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres
from tests.property.test_projections import run

JSON = ("methods", "zones", "networks", "rate")
HOSTS = ("a.example.org", "*.example.org", "127.0.0.1")
EFFECTS = ("allow", "deny", "require_approval")
happenings = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=30
)


def history(workspace: str, script: Sequence[tuple[bool, int, int, int]]) -> Given:
    """What these commands append."""
    meta = Meta(workspace, principals.actor(workspace, "user", "ada"), "c-1")
    told = Given()
    for setting, host, effect, variant in script:
        extra: dict[str, Any] = ({}, {"rate": {"requests": 5, "per_s": 60}, "note": "n"}, {"mode": "shadow"})[variant]
        body = SetEgressRule.model_validate({"host": HOSTS[host], "effect": EFFECTS[effect], "port": 80, **extra})
        rule_id = egress_rules.rule_id_of(workspace, egress_rules.rule_of(body))
        with contextlib.suppress(DomainError):
            if setting:
                told = told.and_then(egress_rules.set_rule, Command(body, meta, rules_id(workspace), loaded=MOMENT))
            else:
                gone = RemoveEgressRule(rule_id=rule_id, reason=f"r {variant}")
                told = told.and_then(egress_rules.remove, Command(gone, meta, rules_id(workspace)))
    return told


async def found(connection: Any, workspace: str) -> dict[str, dict[str, Any]]:
    rows = await connection.fetch(
        "select * from proj.proj_egress_rules where workspace_id = $1 and status = 'active'", workspace
    )
    return {
        row["rule_id"]: {
            name: orjson.loads(row[name]) if name in JSON else row[name] for name in egress_rules.RuleBody.model_fields
        }
        for row in rows
    }


async def last(connection: Any, workspace: str) -> tuple[int, int]:
    row = await connection.fetchrow(
        "select max(entity_version), count(*) from proj.proj_egress_rules where workspace_id = $1", workspace
    )
    return row[0], row[1]


async def test_rows_are_as_folded_however_history_is_cut(postgres: Postgres) -> None:
    numbers = count()
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, PROJECTIONS)
        applier = Applier(PROJECTIONS)

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(happenings, st.lists(st.integers(1, 10), max_size=30))
        async def example(script: list[tuple[bool, int, int, int]], cuts: list[int]) -> None:
            workspace = f"ws_{next(numbers)}"
            told = history(workspace, script)
            events: list[Event] = told.events
            if not events:
                return
            await insert(db, events)
            after = 0
            while after < len(events):
                upto = min(len(events), after + (cuts.pop() if cuts else len(events)))
                async with own.transaction():
                    await applier(own, [Range(StreamKey("workspace", workspace), after, upto)])
                after = upto
            state = told.get(EgressRules, rules_id(workspace))
            assert state is not None
            assert await found(db, workspace) == dict(state.told)
            rules = {event.data["rule_id"] for event in events}
            assert await last(db, workspace) == (len(events), len(rules))

        await run(example)
        await own.close()
