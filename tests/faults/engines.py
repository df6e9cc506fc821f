"""The stack as engines and users meet it, and a hand on the clock of leases."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import httpx

from tests.checkers.run_model import Answer
from tests.fixtures.live import until

T = TypeVar("T")
WAIT_S: Final = 15.0
BELLS: Final = 500

#: Time passes for one lease.
_OVER: Final = """
update eng.eng_runs set lease_expires_at = clock_timestamp(), due_at = clock_timestamp()
where run_id = $1 and claim_token = $2 and state = 'held'
"""
_SWEPT: Final = """
select not exists (
    select from eng.eng_runs where workspace_id = $1 and state = 'held' and lease_expires_at <= clock_timestamp()
)
"""
_COVERED: Final = """
select not exists (select from eng.eng_runs where workspace_id = $1 and state = 'reserved') and not exists (
    select from evt_stream_heads h left join eng.eng_checkpoints c using (stream_type, stream_id)
    where h.workspace_id = $1 and h.seq is distinct from coalesce(c.seq, 0)
)
"""
_BELL: Final = {"x-workspace-id": "ws_bell"}


class Request(NamedTuple):
    """A POST. Headers come on top of the workspace's."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str] = {}


class Service:
    """One stack. Its methods are called from the outside of an event loop; inside they share one."""

    def __init__(self, url: str, postgres_url: str) -> None:
        self._runner = asyncio.Runner()
        self._url = url
        self._postgres_url = postgres_url
        self._bells: list[str] = []

    def __enter__(self) -> "Service":
        self._runner.__enter__()
        self.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it to its end."""
        return self._runner.run(work)

    async def _open(self) -> None:
        self._http = httpx.AsyncClient(base_url=self._url, timeout=30)
        self._database = await asyncpg.connect(self._postgres_url)

    async def _close(self) -> None:
        await self._http.aclose()
        await self._database.close()

    async def post(self, request: Request, workspace_id: str) -> Answer:
        """One answer, whatever it is."""
        headers = {"x-workspace-id": workspace_id, **request.headers}
        answer = await self._http.post(request.path, json=request.body, headers=headers)
        return Answer(answer.status_code, answer.json())

    async def get(self, path: str, workspace_id: str) -> dict[str, Any]:
        """What is there."""
        answer = (await self._http.get(path, headers={"x-workspace-id": workspace_id})).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    # -- the queue

    async def covered(self, workspace_id: str) -> None:
        """Waits until the queue knows all that the store does."""
        await self._until(_COVERED, workspace_id)

    async def pass_time(self, run_id: str, claim_token: str) -> None:
        """The lease's time is over; the queue learns of it when it looks next."""

        async def moved() -> bool:
            return await self._database.execute(_OVER, run_id, claim_token) == "UPDATE 1"

        await until(moved, WAIT_S)

    async def swept(self, workspace_id: str) -> None:
        """Waits until every lease whose time is over has been ended."""
        await self._until(_SWEPT, workspace_id)

    async def ring(self, pause_s: float) -> None:
        """Makes the queue look at its timers in about 50 ms, by a run elsewhere that starts; returns after a pause."""
        if not self._bells:
            room = await self.post(Request("/v1/rooms", {"title": "Bell"}), _BELL["x-workspace-id"])
            command = {"type": "run.create", "body": {"room_id": room.body["room_id"]}}
            made = await self.post(Request("/v1/commands", {"commands": [command] * BELLS}), _BELL["x-workspace-id"])
            self._bells = [result["run_id"] for result in made.body["results"]]
        await self.post(Request(f"/v1/runs/{self._bells.pop()}/start", {}), _BELL["x-workspace-id"])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await asyncio.Event().wait()

    async def _until(self, query: str, workspace_id: str) -> None:
        async def true() -> bool:
            return bool(await self._database.fetchval(query, workspace_id))

        await until(true, WAIT_S)
