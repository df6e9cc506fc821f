"""Agents, actions, kill switches, constraints and labels: however history is cut into batches, rows are as folded."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.domain import action_registry, agents, constraints, kill_switches, principals, resource_labels
from agentos_shared.domain.catalog import AGGREGATES
from agentos_shared.domain.decider import Command, CommandBody, Meta
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.policy import records
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import Facts, Request
from tests.fixtures.given import MOMENT, Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres
from tests.property.test_projections import run


class Ticking(Given):
    """A history that takes time."""

    tick = timedelta(milliseconds=1)


class Table(NamedTuple):
    """A table, how its rows are named, and what they hold of a folded entity."""

    name: str
    key: str
    members: Callable[[Any], dict[str, Any]]


def _of(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda state: {name: getattr(state, name) for name in names}


TABLES = {
    "agent": Table(
        "proj_agents",
        "agent_id",
        _of("principal_id", "display_name", "created_at", "quarantined_at", "quarantine_reason"),
    ),
    "action": Table(
        "proj_actions",
        "action_id",
        _of(*action_registry._MEMBERS, "created_at", "updated_at"),
    ),
    "constraint": Table(
        "proj_constraints",
        "constraint_id",
        lambda state: {
            "seen_count": state.seen,
            "repeat_count": state.repeats,
            **_of("action", "subject_key", "status", "effect", "expires_at")(state),
        },
    ),
    "resource_label": Table("proj_resource_labels", "label_id", lambda state: state.told()),
}
JSON = {"metadata", "purpose_tags"}

small = st.integers(0, 2)
VERBS = (
    *("register agent", "quarantine", "unquarantine", "register action", "drill"),
    *("engage", "release", "refuse", "refuse", "activate", "retire", "label"),
)
happenings = st.lists(st.tuples(st.sampled_from(VERBS), small, small), min_size=5, max_size=40)


def history(workspace: str, script: Sequence[tuple[str, int, int]]) -> list[Event]:
    """What these commands append."""
    ada = principals.actor(workspace, "user", "ada")
    meta = Meta(workspace, ada, "c-1")
    told: Given = Ticking()
    for number, (verb, which, variant) in enumerate(script):
        decide, body, entity_id, loaded = _command(workspace, meta, verb, which, variant)
        if verb == "refuse":
            entity_id = f"dec_{workspace}_{number}"
        if verb == "register agent" and told.version(entity_id):
            continue  # ids of agents are drawn
        with contextlib.suppress(DomainError):
            told = told.and_then(decide, Command(body, meta, entity_id, entity_id, loaded=loaded))
    return told.events


def _command(workspace: str, meta: Meta, verb: str, which: int, variant: int) -> tuple[Any, CommandBody, str, Any]:
    agent_id = f"agt_{workspace}_{which}"
    action = f"action.{which}"
    action_id = action_registry.action_id(workspace, action)
    switches = kill_switches.switches_id(workspace)
    wish = Request(workspace, "action", "external.write", meta.actor, "sha256:0", context={"n": which})
    gated = replace(records.Gated(wish, evaluate(wish, Facts(MOMENT))), asked_before=variant == 2)
    (constraint_id,) = gated.learned_ids
    switch = {"scope": ("workspace", "tool", "room")[which], "target": None if which == 0 else f"t{variant}"}
    later = (MOMENT + timedelta(days=variant)).isoformat()
    edits: tuple[dict[str, Any], ...] = (
        {"reversible": True, "undo_action": "undo", "idempotency_key": "k", "metadata": {"n": variant}},
        {"zone_required": "sandbox", "side_effect": "admin", "undo_window_s": 60},
        {"undo_action": "other", "post_review_required": True},
    )
    match verb:
        case "register agent":
            return agents.register, agents.RegisterAgent(display_name=f"name {variant}"), agent_id, None
        case "quarantine":
            body: CommandBody = agents.QuarantineAgent(quarantine_reason=f"r {variant}")
            return agents.quarantine, body, agent_id, MOMENT + timedelta(hours=variant)
        case "unquarantine":
            return agents.unquarantine, agents.UnquarantineAgent(), agent_id, None
        case "register action":
            body = action_registry.RegisterAction.model_validate({"action_type": action, **edits[variant]})
            return action_registry.register, body, action_id, None
        case "drill":
            body = action_registry.RecordDrill(action_type=action, undo_succeeded=variant > 0, read_back_matched=True)
            return action_registry.drill, body, action_id, None
        case "engage" | "release":
            body = kill_switches.SetKillSwitch.model_validate({"action": verb, "reason": f"r {variant}", **switch})
            return kill_switches.change, body, switches, False
        case "refuse":
            return records.evaluate, records.EvaluatePolicy(action="external.write"), "", gated
        case "activate":
            body = constraints.ActivateConstraint.model_validate({"effect": "deny", "expires_at": later})
            return constraints.activate, body, constraint_id, None
        case "retire":
            return constraints.retire, constraints.RetireConstraint(), constraint_id, None
        case _:
            labels = ("public", "restricted", "confidential")
            told = {"resource_type": "file", "resource_id": str(which), "label": labels[variant]}
            body = resource_labels.LabelResource.model_validate({**told, "purpose_tags": ["a"] * variant})
            return resource_labels.label, body, resource_labels.label_id(workspace, f"file/{which}"), None


def expected(events: Sequence[Event]) -> dict[str, dict[str, dict[str, Any]]]:
    """By table and key, what rows must hold: folded, as deciders see it."""
    lives: dict[str, list[Event]] = {}
    for event in events:
        if event.entity_type in TABLES:
            lives.setdefault(event.entity_id, []).append(event)
    rows: dict[str, dict[str, dict[str, Any]]] = {table.name: {} for table in TABLES.values()}
    for entity_id, life in lives.items():
        table, state = TABLES[life[0].entity_type], None
        for event in life:
            state = AGGREGATES[event.entity_type].evolve(state, event)
        places = {"entity_version": life[-1].entity_version, "stream_seq": life[-1].stream_seq}
        rows[table.name][entity_id] = {**table.members(state), **places}
    return rows


async def found(connection: Any, workspace: str, wanted: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """The same members of the rows that there are."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for table in TABLES.values():
        read = await connection.fetch(f"select * from proj.{table.name} where workspace_id = $1", workspace)
        rows[table.name] = {
            row[table.key]: {
                name: orjson.loads(row[name]) if name in JSON else row[name]
                for name in wanted[table.name].get(row[table.key], row.keys())
            }
            for row in read
        }
    return rows


async def switches_of(connection: Any, workspace: str) -> dict[tuple[str, str], tuple[str | None, str, Any]]:
    rows = await connection.fetch("select * from proj.proj_kill_switches where workspace_id = $1", workspace)
    return {
        (row["scope"], row["target"]): (row["reason"], row["actor_id"], row["changed_at"])
        for row in rows
        if row["engaged"]
    }


def engaged(events: Sequence[Event]) -> dict[tuple[str, str], tuple[str | None, str, Any]]:
    state = None
    for event in events:
        if event.entity_type == "kill_switch":
            state = kill_switches.evolve(state, event)
    switches = state.engaged if state else {}
    return {
        (scope, target or ""): (one.switch.reason, one.actor_id, one.since) for (scope, target), one in switches.items()
    }


async def test_rows_are_as_folded_however_history_is_cut(postgres: Postgres) -> None:
    numbers = count()
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, PROJECTIONS)
        applier = Applier(PROJECTIONS)

        @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(happenings, st.lists(st.integers(1, 30), max_size=30))
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
            wanted = expected(events)
            assert await found(db, workspace, wanted) == wanted
            assert await switches_of(db, workspace) == engaged(events)

        await run(example)
        await own.close()
