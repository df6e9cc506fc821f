"""What a claim asks for, and what it is given."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import orjson

from agentos_shared.domain.envelope import timestamp

#: What a claim may add to its transport, in seconds.
DEFAULT_TTL_S = 30


class Filter(NamedTuple):
    """Which runs are wanted: claims with equal filters are served together. None: any."""

    workspace_id: str
    rooms: tuple[str, ...] | None
    handlers: tuple[str, ...] | None
    tags: tuple[str, ...] | None


@dataclass(slots=True, eq=False)
class Wish:
    """One claim that waits.

    Attributes:
        claimer: members of the command that say who claims: ``claimed_by_actor_id``, ``engine_id``, ...
        until: monotonic time until which it may wait for a run.
        key: idempotency: the command's members ``idempotency_key``, ``key_scope``, ``key_fingerprint``; or None.
        covered: everything that was acknowledged before the claim came has been looked at.
        seen: how often runs had become free in its workspace when it last looked.
    """

    filter: Filter
    claimer: Mapping[str, Any]
    ttl_s: int
    until: float
    key: Mapping[str, Any] | None
    answer: "asyncio.Future[dict[str, Any]]"
    covered: bool = False
    seen: int = 0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


def parse(question: Mapping[str, Any], now: float, answer: "asyncio.Future[dict[str, Any]]") -> Wish:
    """A wish from the API's question, which has validated it."""
    return Wish(
        filter=Filter(
            question["workspace_id"],
            _names(question.get("rooms")),
            _names(question.get("handlers")),
            _names(question.get("tags")),
        ),
        claimer=question["claimer"],
        ttl_s=question.get("lease_ttl_s") or DEFAULT_TTL_S,
        until=now + (question.get("wait_s") or 0),
        key=question.get("key"),
        answer=answer,
    )


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(sorted(set(given)))


EMPTY = {"status": 200, "body": {"claimed": False, "run": None}}


def granted(row: asyncpg.Record, claimed: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a claim that got a run.

    Args:
        row: about the run: ``content`` is that of its ``run.created``.
        claimed: the API's answer to the command: data of ``run.claimed``, its time, and where the last event stands.
    """
    created = orjson.loads(row["content"])["data"]
    lease = claimed["data"]
    run = {
        "run_id": row["run_id"],
        "workspace_id": row["workspace_id"],
        "room_id": row["room_id"],
        "thread_id": row["thread_id"],
        "experiment_id": created.get("experiment_id"),
        "status": "running",
        "title": created.get("title"),
        "goal": created.get("goal"),
        "input": created.get("input") or {},
        "tags": created.get("tags") or [],
        "correlation_id": row["correlation_id"],
        "max_attempts": created.get("max_attempts"),
        "priority": created.get("priority"),
        "timeout_s": created.get("timeout_s"),
        "claim_token": lease["claim_token"],
        "fencing_token": lease["fencing_token"],
        "attempt_no": lease["attempt_no"],
        "run_attempt_id": lease["run_attempt_id"],
        "claimed_by_actor_id": lease["claimed_by_actor_id"],
        "engine_id": lease["engine_id"],
        "lease_ttl_s": lease["lease_ttl_s"],
        "lease_expires_at": lease["lease_expires_at"],
        "lease_heartbeat_at": lease_began(lease),
    }
    return {"status": 200, "body": {"claimed": True, "run": run, **claimed["position"]}}


def lease_began(lease: Mapping[str, Any]) -> str:
    """When a lease was given, from when it ends."""
    ends = datetime.fromisoformat(lease["lease_expires_at"])
    return timestamp(ends - timedelta(seconds=lease["lease_ttl_s"]))
