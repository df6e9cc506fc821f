"""Engines, tokens and capabilities: whatever happens and however it is cut into batches, the rows are as computed."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_api.append.stream_cache import fold
from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.domain import capabilities, engines, principals
from agentos_shared.domain.decider import Command, CommandBody, Meta
from agentos_shared.domain.engines import Engine, NewToken
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError
from tests.fixtures.given import MOMENT, Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres

TABLES = {
    "proj_principals": "principal_id",
    "proj_engines": "engine_id",
    "proj_engine_tokens": "token_id",
    "proj_capabilities": "token_id",
}
JSON = {"metadata", "scopes"}

actors = st.integers(0, 1)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("register"), actors, st.integers(0, 2)),
        st.tuples(st.just("register"), st.just(0), st.integers(0, 2)),
        st.tuples(st.just("issue"), actors, st.integers(0, 2)),
        st.tuples(st.just("revoke"), actors, st.integers(0, 5)),
        st.tuples(st.just("deactivate"), actors, st.just(0)),
        st.tuples(st.just("take back"), actors, st.integers(0, 5)),
    ),
    min_size=8,
    max_size=40,
)


def history(workspace: str, script: Sequence[tuple[str, int, int]]) -> list[Event]:
    """What these commands append, a second apart."""
    meta = Meta(workspace, principals.actor(workspace, "user", "ada"), "c-1")
    told = Given()
    for number, (what, who, choice) in enumerate(script):
        actor_id = f"actor-{who}"
        engine_id = engines.engine_id(workspace, actor_id)
        token = NewToken(f"engtok_{workspace}_{number}", f"cap_{workspace}_{number}", f"secret-{workspace}-{number}")
        chosen = f"_{workspace}_{choice}"
        until = "2027-01-01T00:00:00Z" if choice else None
        body: CommandBody
        with contextlib.suppress(DomainError):
            match what:
                case "register":
                    body = engines.RegisterEngine(
                        actor_id=actor_id,
                        engine_name=f"name {choice}" if choice else None,
                        metadata={"n": choice} if choice else None,
                        valid_until=until,
                    )
                    told = told.and_then(engines.register, Command(body, meta, engine_id, loaded=token))
                case "issue":
                    body = engines.IssueToken(token_label=f"label {choice}", valid_until=until)
                    told = told.and_then(engines.issue, Command(body, meta, engine_id, engine_id, loaded=token))
                case "revoke":
                    body = engines.RevokeToken(token_id="engtok" + chosen, reason=f"reason {number}")
                    told = told.and_then(engines.revoke_token, Command(body, meta, engine_id, engine_id))
                case "deactivate":
                    body = engines.DeactivateEngine(reason=f"reason {number}")
                    told = told.and_then(engines.deactivate, Command(body, meta, engine_id, engine_id))
                case _:
                    body = capabilities.RevokeCapability(token_id="cap" + chosen)
                    told = told.and_then(capabilities.revoke, Command(body, meta, "cap" + chosen))
    times = (MOMENT + timedelta(seconds=event.stream_seq) for event in told.events)
    return [event._replace(recorded_at=time, occurred_at=time) for event, time in zip(told.events, times, strict=True)]


def expected(events: Sequence[Event]) -> dict[str, list[dict[str, Any]]]:
    """The tables that these events make, by a second, plain implementation."""
    rows: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in TABLES}
    for event in events:
        data, seq = event.data, event.stream_seq
        end = {"revoked_at": event.recorded_at}
        if event.entity_type == "engine":
            life = [other for other in events if other.entity_id == event.entity_id and other.stream_seq <= seq]
            rows["proj_engines"][event.entity_id] = engine_row(life)
        match event.event_type:
            case "principal.registered":
                rows["proj_principals"][event.entity_id] = {
                    **{name: data[name] for name in ("principal_id", "principal_type")},
                    **{name: data[name] for name in ("legacy_actor_type", "legacy_actor_id")},
                    "created_at": event.recorded_at,
                    "entity_version": event.entity_version,
                    "last_event_id": UUID(event.event_id),
                    "stream_seq": seq,
                    "workspace_id": event.workspace_id,
                }
            case "agent.capability.granted":
                until = data["valid_until"]
                rows["proj_capabilities"][event.entity_id] = {
                    **data,
                    "workspace_id": event.workspace_id,
                    "created_at": event.recorded_at,
                    "stream_seq": seq,
                    "revoked_at": None,
                    "valid_until": None if until is None else capabilities.moment(until),
                }
            case "engine.registered" | "engine.token.issued":
                until = data["valid_until"]
                names = ("token_id", "engine_id", "principal_id", "capability_token_id", "token_label")
                rows["proj_engine_tokens"][data["token_id"]] = {
                    **{name: data[name] for name in names},
                    "workspace_id": event.workspace_id,
                    "issued_at": event.recorded_at,
                    "stream_seq": seq,
                    "revoked_at": None,
                    "revoked_reason": None,
                    "created_by_principal_id": event.actor_principal_id,
                    "valid_until": None if until is None else capabilities.moment(until),
                }
            case "engine.token.revoked" | "engine.deactivated":
                for token_id in data.get("token_ids", [data.get("token_id")]):
                    row = rows["proj_engine_tokens"][token_id]
                    row.update(end if row["revoked_at"] is None else {})
                    row["revoked_reason"] = row["revoked_reason"] or data["reason"]
                    capability = rows["proj_capabilities"][row["capability_token_id"]]
                    capability.update(end if capability["revoked_at"] is None else {})
            case "agent.capability.revoked":
                capability = rows["proj_capabilities"][event.entity_id]
                capability.update(end if capability["revoked_at"] is None else {})
    return {table: sorted(found.values(), key=lambda row: str(row[TABLES[table]])) for table, found in rows.items()}


def engine_row(life: Sequence[Event]) -> dict[str, Any]:
    last, engine = life[-1], fold(life).state
    assert isinstance(engine, Engine)
    return {
        "engine_id": last.entity_id,
        "workspace_id": last.workspace_id,
        "engine_name": engine.name,
        "actor_id": engine.actor.id,
        "principal_id": engine.actor.principal_id,
        "metadata": engine.metadata,
        "status": "active" if engine.active else "inactive",
        "created_at": engine.created_at,
        "updated_at": engine.updated_at,
        "deactivated_at": engine.deactivated_at,
        "deactivated_reason": engine.deactivated_reason,
        "entity_version": last.entity_version,
        "stream_seq": last.stream_seq,
        "last_event_id": UUID(last.event_id),
    }


async def rows_of(connection: Any, workspace: str) -> dict[str, list[dict[str, Any]]]:
    rows = {}
    for table, key in TABLES.items():
        found = await connection.fetch(
            f'select * from proj.{table} where workspace_id = $1 order by {key} collate "C"', workspace
        )
        rows[table] = [
            {name: orjson.loads(value) if name in JSON else value for name, value in row.items()} for row in found
        ]
    return rows


async def test_rows_are_as_computed_however_history_is_cut(postgres: Postgres) -> None:
    numbers = iter(range(10_000))
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, PROJECTIONS)
        applier = Applier(PROJECTIONS)

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(happenings, st.lists(st.integers(1, 40), max_size=40))
        async def example(script: list[tuple[str, int, int]], cuts: list[int]) -> None:
            workspace = f"ws_{next(numbers)}"
            events = history(workspace, script)
            if not events:
                return
            await insert(db, events)
            after = 0
            while after < len(events):
                upto = min(len(events), after + (cuts.pop() if cuts else len(events)))
                async with own.transaction():
                    await applier(own, [Range(StreamKey("workspace", workspace), after, upto)])
                after = upto
            assert await rows_of(db, workspace) == expected(events)

        await run(example)
        await own.close()


async def run(example: Any) -> None:
    """Runs a hypothesis test of a coroutine within this loop: its thread hands each example over and waits."""
    loop = asyncio.get_running_loop()
    inner = example.hypothesis.inner_test

    def hand_over(*arguments: Any, **named: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(*arguments, **named), loop).result(60)

    example.hypothesis.inner_test = hand_over
    await asyncio.to_thread(example)
