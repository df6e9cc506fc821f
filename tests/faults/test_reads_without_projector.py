"""What readers see while the projector stands still: bounded waits, honest refusals, and nothing wrong."""

import os
import signal
import time
from collections.abc import Callable

import httpx

from tests.fixtures.stack import Stack, wait_until


def test_reads_wait_refuse_and_recover(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    with httpx.Client(base_url=stack.url, timeout=20) as client:
        before = client.post("/v1/rooms", json={"title": "before"}).json()
        assert client.get(f"/v1/rooms/{before['room_id']}").status_code == 200
        frozen = stack.pid("projector")
        os.kill(frozen, signal.SIGSTOP)
        try:
            after = client.post("/v1/rooms", json={"title": "after"}).json()
            for path in (
                f"/v1/rooms/{after['room_id']}",
                f"/v1/rooms/{after['room_id']}/threads",
                f"/v1/rooms?min_position=room/{after['room_id']}@{after['stream_seq']}",
            ):
                asked = time.monotonic()
                answer = client.get(path)
                assert (answer.status_code, answer.json()["error"]) == (503, "projection_behind")
                assert int(answer.headers["retry-after"]) >= 1
                assert 1.9 < time.monotonic() - asked < 4
            # What is projected, what needs no projection, and what does not exist never wait.
            asked = time.monotonic()
            assert client.get(f"/v1/rooms/{before['room_id']}").status_code == 200
            assert [room["title"] for room in client.get("/v1/rooms").json()["rooms"]] == ["before"]
            assert client.get(f"/v1/events/{after['event_id']}").status_code == 200
            assert client.get("/v1/rooms/room_none").status_code == 404
            assert time.monotonic() - asked < 1.5
        finally:
            os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: client.get(f"/v1/rooms/{after['room_id']}").status_code == 200, 30)
        assert [room["title"] for room in client.get("/v1/rooms").json()["rooms"]] == ["after", "before"]
