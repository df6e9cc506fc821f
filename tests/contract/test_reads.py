"""The read side as a client sees it: pages and cursors, limits, positions to wait for, workspaces, event filters."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import Stack

_workspaces = itertools.count(1)


class Caller:
    """A client in a workspace of its own."""

    def __init__(self, url: str, workspace_id: str) -> None:
        self.workspace_id = workspace_id
        self.http = httpx.Client(
            base_url=url, headers={"x-workspace-id": workspace_id}, timeout=20, transport=httpx.HTTPTransport(retries=1)
        )

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path, params={name: value for name, value in query.items() if value is not None})

    def read(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = self.http.post(path, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def room(self, title: str = "Room") -> dict[str, Any]:
        return self.post("/v1/rooms", {"title": title})

    def thread(self, room_id: str, title: str = "Thread") -> dict[str, Any]:
        return self.post(f"/v1/rooms/{room_id}/threads", {"title": title})

    def say(self, thread_id: str, text: str, **more: Any) -> dict[str, Any]:
        return self.post(f"/v1/threads/{thread_id}/messages", {"content_md": text, **more})

    def bulk_say(self, thread_id: str, texts: list[str]) -> dict[str, Any]:
        """Says all texts in one append, so that many share a time; returns the last result."""
        commands = [{"type": "message.create", "body": {"thread_id": thread_id, "content_md": text}} for text in texts]
        answer = self.http.post("/v1/commands", json={"atomic": True, "commands": commands})
        assert answer.status_code == 200, answer.text
        last: dict[str, Any] = answer.json()["results"][-1]
        return last

    def pages(self, path: str, name: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
        """Every page until the cursor is null."""
        cursor = None
        for _ in range(1000):
            body = self.read(path, cursor=cursor, **query)
            yield body[name]
            cursor = body["next_cursor"]
            if cursor is None:
                return
        raise AssertionError("the list never ends")

    def all(self, path: str, name: str, **query: Any) -> list[dict[str, Any]]:
        return [row for page in self.pages(path, name, **query) for row in page]


def position(made: dict[str, Any]) -> str:
    """``min_position`` of a write's answer."""
    return f"{made['stream_type']}/{made['stream_id']}@{made['stream_seq']}"


def fails(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"] == code


@pytest.fixture
def new_caller(stack: Stack) -> Iterator[Callable[[], Caller]]:
    callers: list[Caller] = []

    def make() -> Caller:
        callers.append(Caller(stack.url, f"ws_reads_{next(_workspaces)}"))
        return callers[-1]

    yield make
    for caller in callers:
        caller.http.close()


@pytest.fixture
def caller(new_caller: Callable[[], Caller]) -> Caller:
    return new_caller()


def test_one_entity_is_readable_at_once_after_its_creation(caller: Caller) -> None:
    for _ in range(5):
        room = caller.room("Desk")
        thread = caller.thread(room["room_id"])
        message = caller.say(thread["thread_id"], "hi", labels=["a", "b"])
        said = caller.read(f"/v1/messages/{message['message_id']}")["message"]
        assert (said["content_md"], said["labels"], said["thread_id"]) == ("hi", ["a", "b"], thread["thread_id"])
        opened = caller.read(f"/v1/threads/{thread['thread_id']}")["thread"]
        assert (opened["room_id"], opened["last_event_id"]) == (room["room_id"], thread["event_id"])
        assert caller.read(f"/v1/rooms/{room['room_id']}")["room"]["title"] == "Desk"


def test_a_list_covers_the_position_that_it_was_asked_for(caller: Caller) -> None:
    thread = caller.thread(caller.room()["room_id"])
    for number in range(10):
        said = caller.say(thread["thread_id"], f"m{number}")
        rows = caller.read(f"/v1/threads/{thread['thread_id']}/messages", min_position=position(said), limit=1)[
            "messages"
        ]
        assert rows[0]["message_id"] == said["message_id"]
        docs = caller.read("/v1/search", q=f"m{number}", min_position=position(said))["docs"]
        assert [doc["doc_id"] for doc in docs] == [said["message_id"]]
    made = caller.room()
    assert caller.read("/v1/rooms", min_position=position(made))["rooms"][0]["room_id"] == made["room_id"]
    opened = caller.thread(made["room_id"])
    threads = caller.read(f"/v1/rooms/{made['room_id']}/threads", min_position=position(opened))["threads"]
    assert [row["thread_id"] for row in threads] == [opened["thread_id"]]


@pytest.mark.parametrize("seq", [999, 2**31, 2**63 - 1])
def test_a_position_that_never_comes_is_503_with_retry_after(caller: Caller, seq: int) -> None:
    answer = caller.get("/v1/rooms", min_position=f"room/{caller.room()['room_id']}@{seq}")
    fails(answer, 503, "projection_behind")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.elapsed.total_seconds() < 4


@pytest.mark.parametrize(
    "bad", ["room", "room/x", "room/x@y", "room/x@-1", "thread/x@1", "room/x@99999999999999999999", "\x00"]
)
def test_a_malformed_position_is_refused(caller: Caller, bad: str) -> None:
    fails(caller.get("/v1/rooms", min_position=bad), 400, "invalid_min_position")


def test_rooms_page_through_all_once_newest_first(caller: Caller) -> None:
    made = [caller.room(f"r{number}") for number in range(7)]
    caller.read("/v1/rooms", min_position=position(made[-1]))
    for room in made:
        caller.read("/v1/rooms", min_position=position(room), limit=1)
    pages = list(caller.pages("/v1/rooms", "rooms", limit=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    rows = [row for page in pages for row in page]
    assert {row["room_id"] for row in rows} == {room["room_id"] for room in made}
    assert [row["updated_at"] for row in rows] == sorted((row["updated_at"] for row in rows), reverse=True)
    assert all(row["workspace_id"] == caller.workspace_id for row in rows)


def test_messages_of_one_instant_page_without_loss_or_repeat(caller: Caller) -> None:
    thread = caller.thread(caller.room()["room_id"])["thread_id"]
    last = caller.bulk_say(thread, [f"m{number}" for number in range(50)])
    path = f"/v1/threads/{thread}/messages"
    caller.read(path, min_position=position(last))
    rows = caller.all(path, "messages", limit=7)
    assert [row["content_md"] for row in rows] == [f"m{number}" for number in reversed(range(50))]


def test_pages_stay_stable_while_others_write(caller: Caller) -> None:
    thread = caller.thread(caller.room()["room_id"])["thread_id"]
    path = f"/v1/threads/{thread}/messages"
    last = caller.bulk_say(thread, [f"old{number}" for number in range(30)])
    caller.read(path, min_position=position(last))
    seen: list[str] = []
    cursor = None
    while True:
        body = caller.read(path, limit=4, cursor=cursor)
        seen += [row["content_md"] for row in body["messages"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
        caller.read(path, limit=1, min_position=position(caller.say(thread, "new")))
    assert seen == [f"old{number}" for number in reversed(range(30))]


def test_before_is_exclusive_and_goes_with_a_cursor(caller: Caller) -> None:
    thread = caller.thread(caller.room()["room_id"])["thread_id"]
    path = f"/v1/threads/{thread}/messages"
    first = caller.bulk_say(thread, ["a", "b", "c"])
    early = caller.read(path, min_position=position(first))["messages"]
    later = caller.bulk_say(thread, ["d"])
    while later_rows := caller.read(path, min_position=position(later))["messages"]:
        if later_rows[0]["created_at"] > early[0]["created_at"]:
            break
        later = caller.bulk_say(thread, ["d"])  # the clock had not moved yet
    bound = later_rows[0]["created_at"]
    older = caller.all(path, "messages", before=bound, limit=2)
    assert [row["content_md"] for row in older if row["content_md"] != "d"] == ["c", "b", "a"]
    assert all(row["created_at"] < bound for row in older)
    assert caller.all(path, "messages", before=early[0]["created_at"]) == []
    offset = bound.replace("Z", "+00:00")
    assert caller.all(path, "messages", before=offset, limit=2) == older
    fails(caller.get(path, before="yesterday-ish"), 400, "invalid_before")


def test_threads_page_within_their_room(caller: Caller) -> None:
    room, other = caller.room()["room_id"], caller.room()["room_id"]
    made = [caller.thread(room, f"t{number}") for number in range(5)]
    caller.thread(other)
    path = f"/v1/rooms/{room}/threads"
    caller.read(path, min_position=position(made[-1]))
    rows = caller.all(path, "threads", limit=2)
    assert [row["title"] for row in rows] == ["t4", "t3", "t2", "t1", "t0"]


LISTS = ["/v1/rooms", "/v1/events", "/v1/search?q=ab"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("bad", ["0", "-1", "201", "many", "1.5", "", "99999999999999999999", "\x00", "\u0661"])
def test_a_limit_out_of_range_is_refused(caller: Caller, path: str, bad: str) -> None:
    joint = "&" if "?" in path else "?"
    fails(caller.http.get(f"{path}{joint}{httpx.QueryParams(limit=bad)}"), 400, "invalid_limit")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("bad", ["x", "AAAA", "\x00", "W10", "WyJyb29tcyIsMV0", "WyJub25lIiwxLCJhIl0"])
def test_a_cursor_that_was_not_given_out_is_refused(caller: Caller, path: str, bad: str) -> None:
    joint = "&" if "?" in path else "?"
    fails(caller.http.get(f"{path}{joint}{httpx.QueryParams(cursor=bad)}"), 400, "invalid_cursor")


def test_search_takes_at_most_a_hundred(caller: Caller) -> None:
    fails(caller.get("/v1/search", q="ab", limit=101), 400, "invalid_limit")
    assert caller.read("/v1/search", q="ab", limit=100) == {"docs": [], "next_cursor": None}


def test_unknown_parameters_are_ignored(caller: Caller) -> None:
    assert caller.read("/v1/rooms", surprise="1")["rooms"] == []


UNKNOWN = [
    ("/v1/rooms/{}", "room_not_found"),
    ("/v1/rooms/{}/threads", "room_not_found"),
    ("/v1/threads/{}", "thread_not_found"),
    ("/v1/threads/{}/messages", "thread_not_found"),
    ("/v1/messages/{}", "message_not_found"),
    ("/v1/events/{}", "event_not_found"),
]


@pytest.mark.parametrize(("path", "code"), UNKNOWN)
@pytest.mark.parametrize("odd", ["none", "%00", "a%00b", "%ED%A0%80", "%FF", "room_%27;--", "x" * 2000, "%F0%9F%98%80"])
def test_ids_of_nothing_are_not_found(caller: Caller, path: str, code: str, odd: str) -> None:
    fails(caller.http.get(path.format(odd)), 404, code)


def test_an_id_of_another_kind_is_not_found(caller: Caller) -> None:
    room = caller.room()["room_id"]
    fails(caller.get(f"/v1/threads/{room}"), 404, "thread_not_found")
    fails(caller.get(f"/v1/threads/{room}/messages"), 404, "thread_not_found")
    fails(caller.get(f"/v1/messages/{room}"), 404, "message_not_found")


def test_another_workspace_sees_nothing(caller: Caller, new_caller: Callable[[], Caller]) -> None:
    room = caller.room()
    thread = caller.thread(room["room_id"])
    message = caller.say(thread["thread_id"], "a secret word")
    caller.read(f"/v1/messages/{message['message_id']}")
    stranger = new_caller()
    ids = (room["room_id"], room["room_id"], thread["thread_id"], thread["thread_id"], message["message_id"])
    for (path, code), entity_id in zip(UNKNOWN, (*ids, message["event_id"]), strict=True):
        fails(stranger.get(path.format(entity_id)), 404, code)
    assert stranger.read("/v1/rooms")["rooms"] == []
    assert stranger.read("/v1/search", q="secret")["docs"] == []
    correlation = caller.read(f"/v1/events/{message['event_id']}")["event"]["correlation_id"]
    for query in (
        {},
        {"stream_type": "room", "stream_id": room["room_id"]},
        {"room_id": room["room_id"]},
        {"thread_id": thread["thread_id"]},
        {"correlation_id": correlation},
        {"event_type": "message.created"},
    ):
        assert stranger.read("/v1/events", **query)["events"] == []
    # A cursor carries a place, not a right.
    caller.room()
    cursor = caller.read("/v1/events", limit=1)["next_cursor"]
    assert stranger.read("/v1/events", cursor=cursor)["events"] == []


def test_search_takes_wildcards_by_the_letter(caller: Caller) -> None:
    thread = caller.thread(caller.room()["room_id"])["thread_id"]
    texts = ["100% sure", "100 x sure", "snake_case", "snakeXcase", "back\\slash", "Gr\u00d6\u00dfe \u00c9t\u00e9"]
    last = caller.bulk_say(thread, texts)

    def found(text: str) -> list[str]:
        docs = caller.all("/v1/search", "docs", q=text, min_position=position(last), limit=2)
        return sorted(doc["content_text"] for doc in docs)

    assert found("100%") == ["100% sure"]
    assert found("%%") == []
    assert found("e_c") == ["snake_case"]
    assert found("k\\s") == ["back\\slash"]
    assert found("SNAKE") == ["snakeXcase", "snake_case"]
    assert found("gr\u00f6") == found("\u00e9T\u00c9") == [texts[-1]]
    assert found("' or 1=1 --") == []


def test_search_by_words(caller: Caller) -> None:
    room = caller.room()["room_id"]
    thread = caller.thread(room)["thread_id"]
    texts = ["The Deploy failed twice", "redeployed: all is well", "failed? the deploy-job did", "100% Été a_b c"]
    last = caller.bulk_say(thread, [*texts, "unique " + " ".join(f"w{n}" for n in range(60_000))])

    def found(q: str, **more: Any) -> list[str]:
        docs = caller.all("/v1/search", "docs", q=q, match="words", min_position=position(last), limit=1, **more)
        return sorted(doc["content_text"] for doc in docs)

    assert found("deploy") == found("FAILED deploy") == [texts[0], texts[2]]
    assert found('"deploy failed"') == [texts[0]]
    assert found("deploy -job") == found("deploy -job or nowhere") == [texts[0]]
    assert found("twice or WELL") == [texts[0], texts[1]]
    assert found("deplo") == found("deploy nowhere") == found("nowhere") == []
    assert found("été") == found("a_b") == found("a b") == [texts[3]]
    assert found("deploy", room_id="room_none") == found("deploy", thread_id="th_none") == []
    assert len(found("unique")) == 1
    for nothing in ("-deploy", "%%", "-- !", '""'):
        fails(caller.get("/v1/search", q=nothing, match="words"), 400, "invalid_q")
    fails(caller.get("/v1/search", q="deploy", match="meaning"), 400, "invalid_match")
    assert len(caller.read("/v1/search", q="deploy", match="text")["docs"]) == 3


def test_search_narrows_and_pages(caller: Caller) -> None:
    room = caller.room()["room_id"]
    one, two = caller.thread(room)["thread_id"], caller.thread(room)["thread_id"]
    caller.bulk_say(one, ["needle " + "x" * 400] * 5)
    last = caller.bulk_say(two, ["needle two"] * 3)
    at = position(last)
    assert len(caller.all("/v1/search", "docs", q="needle", min_position=at, limit=3)) == 8
    assert len(caller.all("/v1/search", "docs", q="needle", thread_id=one, limit=2)) == 5
    assert len(caller.read("/v1/search", q="needle", room_id=room)["docs"]) == 8
    assert caller.read("/v1/search", q="needle", room_id="room_none")["docs"] == []
    assert caller.read("/v1/search", q="needle", room_id="a\x00b")["docs"] == []
    assert len(caller.read("/v1/search", q="needle", doc_type="message")["docs"]) == 8
    assert caller.read("/v1/search", q="needle", doc_type="artifact")["docs"] == []
    docs = caller.read("/v1/search", q="needle", thread_id=one)["docs"]
    assert {len(doc["content_text"]) for doc in docs} == {280}


@pytest.mark.parametrize(
    ("q", "code"),
    [
        (None, "q_too_short"),
        ("x", "q_too_short"),
        ("  ", "q_too_short"),
        ("a\x00b", "invalid_q"),
        ("x" * 1001, "invalid_q"),
    ],
)
def test_a_search_for_nothing_in_particular_is_refused(caller: Caller, q: str | None, code: str) -> None:
    fails(caller.get("/v1/search", q=q), 400, code)


def test_a_stream_query_is_in_stream_order_and_pages_from_a_sequence(caller: Caller) -> None:
    room = caller.room()["room_id"]
    thread = caller.thread(room)["thread_id"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: caller.say(thread, f"p{number}"), range(28)))
    query = {"stream_type": "room", "stream_id": room}
    assert [row["stream_seq"] for row in caller.all("/v1/events", "events", limit=7, **query)] == list(range(1, 31))
    assert [row["stream_seq"] for row in caller.all("/v1/events", "events", limit=4, from_seq=20, **query)] == list(
        range(21, 31)
    )
    assert caller.read("/v1/events", from_seq=2**63 - 1, **query)["events"] == []
    assert [row["stream_seq"] for row in caller.read("/v1/events", room_id=room, from_seq=28)["events"]] == [29, 30]


def test_a_stream_query_pages_backwards_from_a_sequence(caller: Caller) -> None:
    room = caller.room()["room_id"]
    thread = caller.thread(room)["thread_id"]
    for number in range(8):
        caller.say(thread, f"p{number}")
    query = {"stream_type": "room", "stream_id": room}

    def seqs(**bounds: object) -> list[int]:
        return [row["stream_seq"] for row in caller.all("/v1/events", "events", limit=3, **query, **bounds)]

    assert seqs(order="desc", before_seq=6) == [5, 4, 3, 2, 1]
    assert seqs(before_seq=6) == [1, 2, 3, 4, 5]
    assert seqs(before_seq=6, from_seq=3, order="desc") == [5, 4]
    assert seqs(before_seq=0) == []
    fails(caller.get("/v1/events", before_seq="-1", **query), 400, "invalid_before_seq")
    fails(caller.get("/v1/events", before_seq=1), 400, "invalid_before_seq")


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", "9223372036854775808", "9" * 40, "", "\x00"])
def test_a_sequence_that_is_none_is_refused(caller: Caller, bad: str) -> None:
    answer = caller.get("/v1/events", stream_type="room", stream_id="room_x", from_seq=bad)
    fails(answer, 400, "invalid_from_seq")


def test_a_sequence_belongs_to_one_stream(caller: Caller) -> None:
    for query in ({}, {"run_id": "run_x"}, {"event_type": "run.created"}):
        fails(caller.get("/v1/events", from_seq=0, **query), 400, "invalid_from_seq")


def test_events_are_found_by_every_filter(caller: Caller) -> None:
    room = caller.room()["room_id"]
    one, two = caller.thread(room)["thread_id"], caller.thread(room)["thread_id"]
    correlation = "01890a5d-ac96-774b-bcce-b302099a8057"
    first = caller.post(f"/v1/threads/{one}/messages", {"content_md": "a"}, **{"x-correlation-id": correlation})
    second = caller.post(f"/v1/threads/{two}/messages", {"content_md": "b", "sender_type": "agent", "sender_id": "bot"})
    elsewhere = caller.thread(caller.room()["room_id"])["thread_id"]
    caller.say(elsewhere, "c")

    def kinds(**query: Any) -> list[str]:
        return [event["event_type"] for event in caller.all("/v1/events", "events", limit=2, **query)]

    everything = ["room.created", "thread.created", "thread.created", "message.created", "message.created"]
    assert kinds() == [*everything, "room.created", "thread.created", "message.created"]
    assert kinds(room_id=room) == everything
    assert kinds(thread_id=one) == ["thread.created", "message.created"]
    assert kinds(room_id=room, event_type="thread.created") == ["thread.created"] * 2
    assert kinds(event_type="room.created") == ["room.created"] * 2
    assert kinds(event_types="room.created,thread.created") == [
        kind for kind in kinds() if kind in ("room.created", "thread.created")
    ]
    assert kinds(event_type="room.created", event_types=["message.created", "none.such"]) == [
        kind for kind in kinds() if kind in ("room.created", "message.created")
    ]
    by_correlation = caller.read("/v1/events", correlation_id=correlation)["events"]
    assert [event["event_id"] for event in by_correlation] == [first["event_id"]]
    bot = caller.read(f"/v1/events/{second['event_id']}")["event"]["actor_principal_id"]
    by_principal = caller.read("/v1/events", subject_principal_id=bot)["events"]
    assert second["event_id"] in [event["event_id"] for event in by_principal]
    assert all(event["actor_principal_id"] == bot for event in by_principal)
    for absent in ("run_id", "step_id", "subject_agent_id", "subject_principal_id", "correlation_id", "thread_id"):
        assert kinds(**{absent: "none"}) == []
        assert kinds(**{absent: "a\x00b"}) == []
    assert kinds(thread_id=one, correlation_id=correlation, event_type="message.created") == ["message.created"]


def test_events_before_a_time(caller: Caller) -> None:
    caller.room()
    newest = caller.read("/v1/events")["events"][-1]["recorded_at"]
    assert caller.read("/v1/events", before_recorded_at=newest)["events"] == []
    assert len(caller.read("/v1/events", before_recorded_at="2999-01-01T00:00:00Z")["events"]) == 1
    fails(caller.get("/v1/events", before_recorded_at="soon"), 400, "invalid_before_recorded_at")


@pytest.mark.parametrize(
    "query",
    [{"stream_type": "room"}, {"stream_id": "room_x"}, {"stream_type": "bogus", "stream_id": "room_x"}],
)
def test_half_a_stream_is_refused(caller: Caller, query: dict[str, str]) -> None:
    fails(caller.get("/v1/events", **query), 400, "stream_type_and_stream_id_required_together")


def test_too_many_event_types_are_refused(caller: Caller) -> None:
    assert caller.read("/v1/events", event_types=",".join(f"t.{n}" for n in range(20)))["events"] == []
    fails(caller.get("/v1/events", event_types=",".join(f"t.{n}" for n in range(21))), 400, "invalid_event_types")


def test_an_event_in_full_has_its_contexts(caller: Caller) -> None:
    made = caller.room("Full")
    listed = caller.read("/v1/events", room_id=made["room_id"])["events"][0]
    full = caller.read(f"/v1/events/{made['event_id']}")["event"]
    assert full == listed | {"policy_context": {}, "model_context": {}, "display": {}}
    assert listed["event_hash"].startswith("sha256:")
    assert listed["prev_event_hash"] is None
    assert full["data"]["title"] == "Full"
