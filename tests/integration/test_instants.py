"""What happens at the very instant at which an approval ends: one thing or the other, and never both."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.stack import Stack, wait_until

COUNT = 8
SOON = timedelta(milliseconds=700)
BATCH = timedelta(milliseconds=200)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    limits = httpx.Limits(max_connections=COUNT + 2)
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20, limits=limits) as made:
        yield made


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ask(client: httpx.Client, **members: str) -> dict[str, Any]:
    made = client.post("/v1/approvals", json={"action": "email.send", **members})
    assert made.status_code == 201, made.text
    told: dict[str, Any] = made.json()
    return told


def life(client: httpx.Client, approval_id: str) -> dict[str, datetime]:
    own: dict[str, str | int] = {
        "stream_type": "workspace",
        "stream_id": client.headers["x-workspace-id"],
        "limit": 200,
    }
    events = client.get("/v1/events", params=own).raise_for_status().json()["events"]
    mine = [event for event in events if event["entity_id"] == approval_id]
    found = {event["event_type"]: moment(event["recorded_at"]) for event in mine}
    assert len(found) == len(mine), "nothing happens twice"
    return found


def until_the_end(client: httpx.Client, path: str, body: dict[str, Any], end: datetime) -> list[int]:
    """The answers to a wish that is sent without a pause until it is done, or the end is over."""
    told: list[int] = []
    while CLOCK.now() < end + SOON and 200 not in told:
        told.append(client.post(path, json=body).status_code)
    return told


def test_a_request_is_decided_or_expires(client: httpx.Client) -> None:
    end = CLOCK.now() + SOON
    asked = [ask(client, decide_by=end.isoformat())["approval_id"] for _ in range(COUNT)]

    def deciding(place: int) -> list[int]:
        late = end - timedelta(milliseconds=60) + place * timedelta(milliseconds=15)
        wait_until(lambda: CLOCK.now() >= late, 5)
        body = {"decision": "approve"}
        return until_the_end(client, f"/v1/approvals/{asked[place]}/decide", body, end)

    with ThreadPoolExecutor(COUNT) as pool:
        told = list(pool.map(deciding, range(COUNT)))
    for approval_id, answers in zip(asked, told, strict=True):
        assert set(answers) <= {200, 409}
        if 200 in answers:
            # It was in time when it was asked for; that it is on record took a moment.
            assert life(client, approval_id)["approval.decided"] < end + BATCH
            assert "approval.expired" not in life(client, approval_id)
        else:
            wait_until(lambda own=approval_id: "approval.expired" in life(client, own), 10)  # type: ignore[misc]
            assert "approval.decided" not in life(client, approval_id)


def test_what_is_allowed_is_used_or_lapses(client: httpx.Client) -> None:
    end = CLOCK.now() + SOON
    asked = [ask(client, expires_at=end.isoformat()) for _ in range(COUNT)]
    for one in asked:
        decided = client.post(f"/v1/approvals/{one['approval_id']}/decide", json={"decision": "approve"})
        assert decided.status_code == 200, decided.text

    def using(place: int) -> list[int]:
        late = end - timedelta(milliseconds=60) + place * timedelta(milliseconds=15)
        wait_until(lambda: CLOCK.now() >= late, 5)
        body = {"action_digest": asked[place]["action_digest"]}
        return until_the_end(client, f"/v1/approvals/{asked[place]['approval_id']}/consume", body, end)

    with ThreadPoolExecutor(COUNT) as pool:
        told = list(pool.map(using, range(COUNT)))
    for one, answers in zip(asked, told, strict=True):
        own = one["approval_id"]
        if 200 in answers:
            assert life(client, own)["approval.consumed"] < end
            assert "approval.lapsed" not in life(client, own)
        else:
            wait_until(lambda own=own: "approval.lapsed" in life(client, own), 10)  # type: ignore[misc]
            assert "approval.consumed" not in life(client, own)
