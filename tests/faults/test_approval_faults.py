"""Approvals with two API processes, and with none for a while."""

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import httpx

from agentos_shared.host.lifecycle import CLOCK
from tests.faults.cluster import Cluster
from tests.fixtures.stack import wait_until


def ask(client: httpx.Client, **members: Any) -> dict[str, Any]:
    answer = client.post("/v1/approvals", json={"action": "email.send", **members}).raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def row(client: httpx.Client, approval_id: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/approvals/{approval_id}", params=query).raise_for_status().json()
    row: dict[str, Any] = found["approval"]
    return row


async def test_a_decision_wakes_who_waits_at_another_process(cluster: Cluster) -> None:
    took: list[float] = []
    with (
        cluster.second_api() as twin,
        httpx.Client(base_url=cluster.stack.url, timeout=40) as one,
        httpx.Client(base_url=twin.url, timeout=40) as other,
    ):

        def wait(approval_id: str) -> tuple[dict[str, Any], float]:
            return row(other, approval_id, wait_s=30), time.monotonic()

        wait_until(lambda: "agentos_decision_hints_seeing 1.0" in other.get("/metrics").text, 20)
        for _ in range(5):
            approval_id = ask(one)["approval_id"]
            waiting = asyncio.create_task(asyncio.to_thread(wait, approval_id))
            await asyncio.wait([waiting], timeout=0.3)
            assert not waiting.done()
            decide = f"/v1/approvals/{approval_id}/decide"
            await asyncio.to_thread(lambda path=decide: one.post(path, json={"decision": "approve"}))  # type: ignore[misc]
            decided = time.monotonic()
            found, woken = await waiting
            assert found["status"] == "approved"
            took.append(woken - decided)
    assert min(took) < 0.05, took


def test_two_processes_use_an_approval_once(cluster: Cluster) -> None:
    with cluster.second_api() as twin, httpx.Client(base_url=cluster.stack.url, timeout=40) as one:
        for _ in range(5):
            made = ask(one)
            path = f"/v1/approvals/{made['approval_id']}"
            one.post(f"{path}/decide", json={"decision": "approve"}).raise_for_status()

            async def use(path: str = path, digest: str = made["action_digest"]) -> list[int]:
                async with httpx.AsyncClient(timeout=40) as client:
                    answers = [
                        client.post(f"{url}{path}/consume", json={"action_digest": digest})
                        for url in (cluster.stack.url, twin.url) * 25
                    ]
                    return [answer.status_code for answer in await asyncio.gather(*answers)]

            assert sorted(asyncio.run(use())) == [200] + [409] * 49
            assert row(one, made["approval_id"])["uses"] == 1


def test_timers_survive_the_process_that_set_them(cluster: Cluster) -> None:
    with httpx.Client(base_url=cluster.stack.url, timeout=40) as client:
        until = CLOCK.now() + timedelta(seconds=8)
        text = until.isoformat().replace("+00:00", "Z")
        approval_id = ask(client, decide_by=text)["approval_id"]
        cluster.stack.wait_healthy({"api": cluster.kill("api")})
        assert CLOCK.now() < until, "it was back in time"
        found = row(client, approval_id, wait_s=20)
        assert found["status"] == "expired"
        late = datetime.fromisoformat(found["ended_at"]) - until
        assert timedelta(0) <= late < timedelta(seconds=1)


def test_what_was_due_while_nobody_was_there_is_done_at_the_start(cluster: Cluster) -> None:
    with httpx.Client(base_url=cluster.stack.url, timeout=40) as client:
        until = CLOCK.now() + timedelta(seconds=1)
        approval_id = ask(client, decide_by=until.isoformat().replace("+00:00", "Z"))["approval_id"]
        with cluster.held():
            gone = cluster.kill("api")
            wait_until(lambda: CLOCK.now() > until, 10)
        cluster.stack.wait_healthy({"api": gone})
        assert row(client, approval_id, wait_s=20)["status"] == "expired"
        refused = client.post(f"/v1/approvals/{approval_id}/decide", json={"decision": "approve"})
        assert (refused.status_code, refused.json()["error"]) == (409, "approval_expired")
