"""Whatever happens to approvals, and however it is cut into batches: the same rows, live, rebuilt and as folded."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.rebuild import rebuild
from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approval_life, approval_marks, approvals, grants, principals
from agentos_shared.domain.approval_answers import Deciding, Review
from agentos_shared.domain.approval_bodies import (
    CancelApproval,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    DeliverApproval,
    ExpireApproval,
    NotifyApproval,
    RevokeGrant,
    SeeApproval,
)
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, Decide, Meta
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.grants import Moment
from agentos_shared.host.lifecycle import CLOCK, RNG
from agentos_shared.store.checkpoints import ConnectionStore
from tests.fixtures.given import MOMENT, Given
from tests.fixtures.projecting import connected, insert
from tests.fixtures.stack import Postgres
from tests.property.test_projections import Silent, run

ENDS = (
    "approval.expired",
    "approval.cancelled",
    "approval.superseded",
    "approval.consumed",
    "approval.lapsed",
    "grant.revoked",
)
OF_GRANTS = ("approval.decided", "grant.used", "grant.revoked", "approval.lapsed")
DIGEST = "sha256:" + "1" * 64
SCOPES: tuple[dict[str, Any], ...] = ({"type": "once"}, {"type": "workspace", "max_uses": 3}, {"type": "pattern"})

small = st.integers(0, 2)
happenings = st.one_of(
    st.tuples(st.sampled_from(["use", "use", "hold", "approve"]), small, small),
    st.tuples(st.sampled_from(["approve", "approve", "deny", "hold", "use", "use"]), small, small),
    st.tuples(
        st.sampled_from(["notify", "see", "deliver", "cancel", "revoke", "tick", "tick", "supersede"]), small, small
    ),
    st.tuples(st.just("project"), st.integers(1, 7), small),
)


class Ticking(Given):
    """A history that takes time."""

    tick = timedelta(milliseconds=1)


class History:
    """A workspace of its own for each example, since they share a store."""

    def __init__(self, example: int) -> None:
        workspace = f"ws_{example}"
        self.example = example
        self.people = tuple(Meta(workspace, principals.actor(workspace, "user", name), "c-1") for name in ("ada", "bo"))
        self.given: Given = Ticking()
        self.hours = 0
        self._drawn = count()
        self._turn = count()
        for which in range(3):
            self.happen("create", which, (which + example) % 3)
        self.happen("approve", example % 3, 2)

    def _command(self, verb: str, which: int, variant: int) -> tuple[Decide, Any]:
        hours = [None, self.hours + 3, self.hours + 30][variant]
        later = None if hours is None else (MOMENT + timedelta(hours=hours)).isoformat()
        match verb:
            case "create":
                return approvals.create, CreateApproval.model_validate(
                    {
                        "action": "x",
                        "scope": SCOPES[variant],
                        "request": {"n": which},
                        **({"action_digest": DIGEST} if which else {}),
                        "required_approvals": 2 if which == 1 else 1,
                        "escalation": [{"after_s": 3600 * hours, "notify": "n"} for hours in (2, 9)[:variant]],
                    }
                )
            case "supersede":
                old = f"appr_{self.example}_{which}"
                return approvals.create, CreateApproval(action="x", supersedes=old)
            case "approve" | "deny" | "hold":
                member = {"hold": "wake_at"}.get(verb, "expires_at")
                body: dict[str, Any] = {"decision": verb, member: later, "reason": f"r {variant}"}
                if variant == 1:
                    body["scope"] = SCOPES[which]
                if verb == "approve" and not which and variant:
                    body["edited_request"] = {"m": variant}
                return decisions.decide, DecideApproval.model_validate(body)
            case "notify":
                failure = "away" if variant else None
                return approval_marks.notify, NotifyApproval(channel="desk", step=None, failure=failure)
            case "see":
                return approval_marks.see, SeeApproval()
            case "deliver":
                return approval_marks.deliver, DeliverApproval()
            case "use":
                return grants.consume, ConsumeApproval(action_digest=DIGEST)
            case "cancel":
                return approvals.cancel, CancelApproval()
            case "revoke":
                return grants.revoke, RevokeGrant(reason=f"r {variant}")
            case _:
                return decisions.expire, ExpireApproval()

    def happen(self, verb: str, which: int, variant: int) -> None:
        approval_id = f"appr_{self.example}_{which}"
        if verb == "supersede":
            approval_id = f"appr_{self.example}_new_{next(self._drawn)}"
        if verb == "tick":
            self.hours += [1, 8, 30][variant]
        decide, body = self._command(verb, which, variant)
        now = MOMENT + timedelta(hours=self.hours)
        loaded: Any = Moment(now) if isinstance(body, ConsumeApproval) else now
        if isinstance(body, DecideApproval):
            loaded = Deciding(now, Review("sha256:" + "5" * 64))
        try:
            self.given = self.given.and_then(
                decide, Command(body, self.people[next(self._turn) % 2], approval_id, None, None, loaded)
            )
        except DomainError:
            return


def folded(events: Sequence[Event]) -> dict[str, tuple[Approval, list[Event]]]:
    """Each approval as deciders see it, with its events."""
    found: dict[str, tuple[Approval | None, list[Event]]] = {}
    for event in events:
        state, own = found.get(event.entity_id, (None, []))
        found[event.entity_id] = approval_life.evolve(state, event), [*own, event]
    return {key: (state, own) for key, (state, own) in found.items() if state is not None}


def first_at(own: Sequence[Event], *types: str) -> datetime | None:
    return next((event.recorded_at for event in own if event.event_type in types), None)


def row_of(state: Approval, own: Sequence[Event]) -> dict[str, Any]:
    decided = [event for event in own if event.event_type == "approval.decided"]
    last = decided[-1].data if decided else {}
    over = state.status not in ("pending", "held", "approved")
    return {
        "status": state.status,
        "scope": state.scope,
        "expires_at": state.expires_at,
        "decide_by": state.decide_by,
        "wake_at": state.wake_at,
        "uses": state.uses,
        "due_at": state.due_at,
        "action_digest": state.digest,
        "escalate_at": state.escalate_at,
        "escalations": state.escalated,
        "required_approvals": state.votes.required,
        "notified_at": first_at(own, "approval.notified"),
        "seen_at": first_at(own, "approval.seen"),
        "delivered_at": first_at(own, "approval.delivered"),
        "consumed_at": first_at(own, "approval.consumed", "grant.used"),
        "voters": [event.actor_id for event in own if event.event_type == "approval.vote_recorded"],
        "edited_request": last.get("edited_request"),
        "decision": last.get("decision"),
        "decision_reason": last.get("reason"),
        "decided_at": decided[-1].recorded_at if decided else None,
        "ended_at": first_at(own, *ENDS) or (decided[-1].recorded_at if over else None),
        "superseded_by": next((event.data["superseded_by"] for event in own if "superseded_by" in event.data), None),
        "request": own[0].data["request"],
        "updated_at": own[-1].recorded_at,
        "entity_version": len(own),
        "stream_seq": own[-1].stream_seq,
    }


def grant_of(state: Approval, own: Sequence[Event]) -> dict[str, Any]:
    ends = {"approved": "active", "revoked": "revoked", "lapsed": "lapsed"}
    revoked = next((event for event in own if event.event_type == "grant.revoked"), None)
    return {
        "status": ends[state.status],
        "scope": state.scope,
        "uses": state.uses,
        "max_uses": state.scope.get("max_uses"),
        "expires_at": state.expires_at,
        "revoke_reason": revoked.data["reason"] if revoked else None,
        "revoked_at": revoked.recorded_at if revoked else None,
        "updated_at": [event.recorded_at for event in own if event.event_type in OF_GRANTS][-1],
    }


async def differing(connection: Any, events: Sequence[Event]) -> list[str]:
    """Where the tables are not what the events make."""
    everything = folded(events)
    granted = {
        key: grant_of(state, own)
        for key, (state, own) in everything.items()
        if state.scope["type"] != "once" and state.status in ("approved", "revoked", "lapsed")
    }
    wanted = {
        "proj_approvals": {key: row_of(*one) for key, one in everything.items()},
        "proj_grants": granted,
    }
    found = []
    for table, members in wanted.items():
        rows = {row["approval_id"]: row for row in await connection.fetch(f"select * from proj.{table}")}
        if rows.keys() != members.keys():
            found.append(f"{table}: {sorted(rows)} instead of {sorted(members)}")
            continue
        for key, expected in members.items():
            for name, value in expected.items():
                if name == "voters":
                    stored = [vote["actor_id"] for vote in orjson.loads(rows[key]["votes"])]
                else:
                    stored = rows[key][name]
                    stored = orjson.loads(stored) if name in ("scope", "request", "edited_request") else stored
                if stored != value:
                    found.append(f"{table} {key} {name}: {stored} instead of {value}")
    return found


async def test_live_and_rebuilt_rows_are_those_of_the_events(postgres: Postgres) -> None:
    everything: list[Event] = []
    examples = count()
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, PROJECTIONS)

        async def project(events: Sequence[Event], batch: int) -> None:
            await insert(db, events)
            everything.extend(events)
            consumer = Consumer(
                "test",
                store=ConnectionStore(own, "proj"),
                bus=Silent(),
                clock=CLOCK,
                rng=RNG,
                effects=Applier(PROJECTIONS),
                limits=Limits(batch_events=batch, page=2),
            )
            await consumer.reconcile()
            assert await db.fetchval("select count(*) from proj.proj_parked") == 0

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(happenings, min_size=12, max_size=60))
        async def example(script: list[tuple[str, int, int]]) -> None:
            history, done = History(next(examples)), 0
            for what in [*script, ("project", 3, 0)]:
                if what[0] != "project":
                    history.happen(*what)
                    continue
                await project(history.given.events[done:], what[1])
                done = len(history.given.events)
            assert await differing(db, everything) == []
            await rebuild(postgres.projector_url, projections=PROJECTIONS)
            assert await differing(db, everything) == []

        await run(example)
        await own.close()
