"""Engines that work through runs whatever happens to the stack, and what they can swear to afterwards."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from agentos_shared.domain.ids import new_uuid
from tests.checkers.run_model import lease_violations
from tests.fixtures.live import until

TTL_S: Final = 5
PATIENCE_S: Final = 60.0
#: How often an engine just drops what it holds, or stands still until somebody else has it.
DROPPED: Final = 0.05
RETRY_S: Final = 0.1
#: Refusals that tell an engine that the run is not its own any more.
LOST: Final = ("lease_token_mismatch", "run_already_ended", "run_not_running")


class Lost(Exception):
    """The lease is another's by now, or the run has ended."""


@dataclass(slots=True)
class Sworn:
    """What was acknowledged.

    Attributes:
        created: ids of runs.
        claims: (run, fencing token) -> claim tokens that engines were given; more than one is wrong.
        completed: run -> fencing token under which it was acknowledged as completed.
    """

    created: list[str] = field(default_factory=list)
    claims: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    completed: dict[str, int] = field(default_factory=dict)


class Crew:
    """Some engines in one workspace.

    Args:
        urls: API processes; each request goes to any of them.
    """

    def __init__(self, urls: Sequence[str], workspace_id: str, seed: int, engines: int = 6) -> None:
        self.sworn = Sworn()
        self.left: list[dict[str, Any]] = []
        self._urls = urls
        self._workspace_id = workspace_id
        self._rng = random.Random(seed)
        self._engines = engines
        self._stopping = False
        self._rooms: list[str] = []

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator["Crew"]:
        """They work during the block; at its end they finish, and whatever is left is worked through."""
        async with httpx.AsyncClient(timeout=10, headers={"x-workspace-id": self._workspace_id}) as self._http:
            self._rooms = [(await self._post("/v1/rooms", {"title": "Work"}))["room_id"] for _ in range(2)]
            engines = [asyncio.create_task(self._engine(number)) for number in range(self._engines)]
            try:
                yield self
                self._stopping = True
                await asyncio.gather(*engines)
                await self._work_off()
            finally:
                for engine in engines:
                    engine.cancel()
                await asyncio.gather(*engines, return_exceptions=True)

    async def completed(self, more: int) -> None:
        """Waits until so many more runs were acknowledged as completed."""
        wanted = len(self.sworn.completed) + more
        await until(lambda: len(self.sworn.completed) >= wanted, PATIENCE_S)

    # -- engines

    async def _engine(self, number: int) -> None:
        while not self._stopping:
            await self._create()
            await self._claim_and_work(f"engine-{number}", wait_s=1)

    async def _create(self) -> None:
        body = {"room_id": self._rng.choice(self._rooms), "max_attempts": 50, "priority": self._rng.randint(-1, 1)}
        self.sworn.created.append((await self._post("/v1/runs", body))["run_id"])

    async def _claim_and_work(self, engine: str, wait_s: float = 0, drop: bool = True) -> bool:
        body = {"actor_id": engine, "wait_s": wait_s, "lease_ttl_s": TTL_S}
        run = (await self._post("/v1/runs/claim", body))["run"]
        if run is None:
            return False
        held = self.sworn.claims.setdefault((run["run_id"], run["fencing_token"]), set())
        held.add(run["claim_token"])
        with contextlib.suppress(Lost):
            await self._work(run, engine, drop)
        return True

    async def _work(self, run: Mapping[str, Any], engine: str, drop: bool) -> None:
        headers = {"x-actor-type": "service", "x-actor-id": engine, "x-claim-token": run["claim_token"]}
        for _ in range(self._rng.randint(1, 3)):
            step = await self._post(f"/v1/runs/{run['run_id']}/steps", {"kind": "work"}, headers)
            if drop and self._rng.random() < DROPPED:
                return  # as one that was killed
            call = await self._post(f"/v1/steps/{step['step_id']}/toolcalls", {"tool_name": "look"}, headers)
            if "tool_call_id" not in call:
                return  # not allowed, since nobody could be asked; the run is somebody's later
            await self._post(f"/v1/toolcalls/{call['tool_call_id']}/succeed", {}, headers)
        await self._post(f"/v1/runs/{run['run_id']}/complete", {}, headers)
        self.sworn.completed[run["run_id"]] = run["fencing_token"]

    async def _work_off(self) -> None:
        """Nothing is stuck: what was dropped is free again once its lease is over, and is done then."""

        async def nothing_left() -> bool:
            while await self._claim_and_work("engine-last", drop=False):
                pass
            left = [
                await self._get(f"/v1/runs?status={status}") for status in ("running", "queued")
            ]  # the way that expiry goes
            self.left = [run for page in left for run in page["runs"]]
            return not self.left

        try:
            await until(nothing_left, PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"stuck: {self.left}") from error

    # -- requests

    async def _post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Asks again with the same key until there is an answer. Raises Lost."""
        key = {"idempotency-key": new_uuid(), **(headers or {})}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await self._http.post(self._rng.choice(self._urls) + path, json=body, headers=key)
                    told: dict[str, Any] = answer.json()
                    if answer.is_success:
                        return told
                    if told["error"] in LOST:
                        raise Lost(told["error"])
                    if answer.status_code < 500 and told["error"] != "idempotency_key_in_flight":
                        raise AssertionError(f"POST {path} {body}: {told}")
                await self._pause()

    async def _get(self, path: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await self._http.get(self._rng.choice(self._urls) + path)
                    if answer.is_success:
                        told: dict[str, Any] = answer.json()
                        return told
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await asyncio.Event().wait()


def violations(sworn: Sworn, events: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What the engines swear to and the events of each run do not show, or the other way round."""
    wrong = [text for told in events.values() for text in lease_violations(told)]
    for (run_id, number), tokens in sworn.claims.items():
        stored = [
            event["data"]["claim_token"]
            for event in events.get(run_id, ())
            if event["event_type"] == "run.claimed" and event["data"]["fencing_token"] == number
        ]
        if stored != list(tokens):
            wrong.append(f"{run_id} was given under {number} as {tokens}, and is stored as {stored}")
    for run_id in sworn.created:
        if run_id not in events:
            wrong.append(f"{run_id} was acknowledged, and is not there")
    for run_id, number in sworn.completed.items():
        last = _holders_at_end(events.get(run_id, ()))
        if last != [number]:
            wrong.append(f"{run_id} was acknowledged as completed under {number}, and was completed under {last}")
    for run_id, told in events.items():
        kinds = Counter(event["event_type"] for event in told)
        if sum(kinds[f"run.{how}"] for how in ("completed", "failed", "cancelled")) != 1:
            wrong.append(f"{run_id} did not end once: {kinds}")
        if kinds["evidence.manifest.created"] != 1:
            wrong.append(f"{run_id} has {kinds['evidence.manifest.created']} evidence manifests")
    return wrong


def _holders_at_end(events: Sequence[Mapping[str, Any]]) -> list[int]:
    """Under which fencing token a run was completed, for each time that it was."""
    found, holder = [], 0
    for event in events:
        if event["event_type"] == "run.claimed":
            holder = event["data"]["fencing_token"]
        elif event["event_type"] == "run.completed":
            found.append(holder)
    return found
