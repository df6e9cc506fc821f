"""Claims that nobody waits for any more: what the API says of them, and what becomes of a run that was given all the
same."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from agentos_api.claim_line import ClaimLine
from agentos_engine.claims import Claims
from agentos_engine.wishes import parse
from agentos_shared.contracts import subjects
from agentos_shared.host.lifecycle import CLOCK, RNG

RUN = {"run_id": "run_1", "workspace_id": "ws_1", "claim_token": "t1"}
KEY = {"idempotency_key": "k", "scope": "s", "fingerprint": "00"}


class Nats:
    """A client whose every request is acknowledged."""

    is_connected = True
    is_closed = False

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.asked = asyncio.Event()
        self.withdrawn = asyncio.Event()

    async def publish(self, subject: str, body: bytes) -> None:
        self.sent.append((subject, orjson.loads(body)))
        self.withdrawn.set()

    async def request(self, subject: str, body: bytes, timeout: float) -> Any:
        self.sent.append((subject, orjson.loads(body)))
        self.asked.set()
        return SimpleNamespace(data=b'{"by":"engine_1"}')


@pytest.mark.parametrize(("key", "released"), [(None, [RUN]), (KEY, [])])
async def test_a_claim_that_is_given_up_is_withdrawn_and_its_late_run_let_go(
    key: dict[str, str] | None, released: list[Any]
) -> None:
    nats, let_go = Nats(), list[Mapping[str, Any]]()
    line = ClaimLine(cast("Any", nats), let_go.append)
    asking = asyncio.create_task(line.ask({"workspace_id": "ws_1"} | ({"key": key} if key else {}), 20))
    await nats.asked.wait()
    ((_, asked),) = nats.sent
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    await nats.withdrawn.wait()
    number = asked["claims"][0]["number"]
    assert nats.sent[-1] == (subjects.ENGINE_WITHDRAW, {"reply_to": asked["reply_to"], "numbers": [number]})
    late = {"answers": [[number, {"status": 200, "body": {"claimed": True, "run": RUN}}]]}
    await line._on_answers(cast("Any", SimpleNamespace(data=orjson.dumps(late))))
    assert let_go == released
    await line.stop()


class Bus:
    """Grants every claim, and takes every release."""

    hinted = False

    def __init__(self) -> None:
        self.released: list[Mapping[str, Any]] = []
        self.done = asyncio.Event()

    async def command(self, _noun: str, verb: str, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if verb == "release":
            self.released += commands
            self.done.set()
            return [{"status": 200} for _ in commands]
        lease = {"fencing_token": 1, "attempt_no": 1, "run_attempt_id": "rat_1", "claimed_by_actor_id": "e"}
        told = {**lease, "engine_id": None}
        return [
            {"status": 200, "position": {}, "data": {**told, **{name: command[name] for name in LEASE}}}
            for command in commands
        ]


LEASE = ("claim_token", "lease_ttl_s", "lease_expires_at", "run_id")


@pytest.mark.parametrize("key", [None, KEY])
async def test_what_is_granted_to_a_withdrawn_claim_is_released_unless_its_key_may_ask_again(
    key: dict[str, str] | None,
) -> None:
    bus = Bus()
    claims = Claims(cast("Any", None), cast("Any", bus), cast("Any", None), cast("Any", None), CLOCK, RNG)
    question = {"workspace_id": "ws_1", "claimer": {}, "key": key}
    there, gone = (parse(question, 0.0, asyncio.get_running_loop().create_future()) for _ in range(2))
    gone.answer.cancel()
    row = {"workspace_id": "ws_1", "room_id": "room_1", "thread_id": None, "correlation_id": "c", "version": 1}
    content = orjson.dumps({"data": {}}).decode()
    pairs = [
        (wish, {**row, "run_id": run_id, "now": datetime(2026, 11, 24, tzinfo=UTC), "content": content})
        for wish, run_id in ((there, "run_1"), (gone, "run_2"))
    ]
    assert await claims._append_some(cast("Any", pairs)) == []
    assert there.answer.result()["body"]["run"]["run_id"] == "run_1"
    if key is None:
        await bus.done.wait()
    assert [command["run_id"] for command in bus.released] == (["run_2"] if key is None else [])
