"""Uses a running stack once, by its address: a room, a thread, messages, live stream, read side, chain, a run.

Standard library only, so that any machine with a Python can run it: `python3 smoke.py http://127.0.0.1:7717 [room_id]`.
Prints the room's id. With a room's id it finds that room as it was left, and adds to it.
"""

import json
import sys
import urllib.request
from collections.abc import Iterator
from itertools import islice
from typing import Any

TIMEOUT_S = 15
#: That whose runs the embedded worker claims when nothing else is said.
WORKSPACE = "ws_dev"


class Client:
    """JSON over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def open(self, path: str, body: Any = None) -> Any:
        """The open answer to a request; a POST when there is a body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "x-workspace-id": WORKSPACE}
        request = urllib.request.Request(self._url + path, data, headers)  # noqa: S310 - the caller's own address
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - as above

    def call(self, path: str, body: Any = None) -> Any:
        """The answer's JSON."""
        with self.open(path, body) as answer:
            return json.load(answer)


def events(stream: Any) -> Iterator[tuple[str, int]]:
    """Name and id of each event of a live stream; the feed's own have no name."""
    name, place = "", -1
    for line in stream:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            place = int(value)
        elif not field and place >= 0:
            yield name, place
            name, place = "", -1
    raise SystemExit("the live stream ended early")


def main(url: str, room_id: str | None) -> None:
    """Raises on anything that is not as it must be."""
    client = Client(url)
    if room_id is None:
        room_id = client.call("/v1/rooms", {"title": "Smoke"})["room_id"]
        thread_id = client.call(f"/v1/rooms/{room_id}/threads", {"title": "Main"})["thread_id"]
        head = 2
    else:
        [thread] = client.call(f"/v1/rooms/{room_id}/threads")["threads"]
        thread_id = thread["thread_id"]
        head = len(client.call(f"/v1/threads/{thread_id}/messages")["messages"]) + 2
    with client.open(f"/v1/streams/rooms/{room_id}?from_seq=latest") as live:
        posted = client.call(f"/v1/threads/{thread_id}/messages", {"content_md": f"message {head - 1}"})
        expect("live event", next(place for name, place in events(live) if not name), posted["stream_seq"])
    expect("place in the stream", posted["stream_seq"], head + 1)
    with client.open(f"/v1/streams/rooms/{room_id}") as live:
        history = [place for name, place in islice(events(live), head + 2) if not name]
    expect("history", history, list(range(1, head + 2)))
    read = client.call(f"/v1/threads/{thread_id}/messages?min_position=room/{room_id}@{head + 1}")["messages"]
    expect("messages read", sorted(m["content_md"] for m in read), sorted(f"message {n}" for n in range(1, head)))
    chain = client.call(f"/v1/audit/hash-chain/verify?stream_type=room&stream_id={room_id}")
    expect("chain", chain["valid"], True)
    work(client)
    print(room_id)  # noqa: T201 - its output


def work(client: Client) -> None:
    """Has the embedded worker do a run. In a room of its own: the other one's events are counted."""
    room_id = client.call("/v1/rooms", {"title": "Smoke, work"})["room_id"]
    wish = {"room_id": room_id, "input": {"handler": "echo", "said": 1}}
    run_id = client.call("/v1/runs", wish)["run_id"]
    with client.open(f"/v1/streams/rooms/{room_id}") as live:
        feed = events(live)
        while (run := client.call(f"/v1/runs/{run_id}")["run"])["status"] in ("queued", "running"):
            next(feed)  # each event is a reason to look again; a silent stream ends by its timeout
    expect("run", (run["status"], run["output"]), ("succeeded", {"said": 1}))


def expect(what: str, found: Any, wanted: Any) -> None:
    """Ends the program when they differ."""
    if found != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, found {found!r}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
