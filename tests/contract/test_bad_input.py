"""Bad input gets a clear error and loses nothing: never a 500, never an event."""

import httpx
import pytest

from tests.fixtures.raw_http import exchange, request
from tests.fixtures.stack import Stack

ROOM = b'{"title":"t"}'
BIG = b'{"title":"' + b"a" * (1024 * 1024) + b'"}'


def bodies() -> list[tuple[str, bytes, int, str]]:
    return [
        ("malformed", b'{"title":', 400, "invalid_json"),
        ("trailing", b'{"title":"t"} x', 400, "invalid_json"),
        ("array", b"[]", 400, "invalid_body"),
        ("text", b'"x"', 400, "invalid_body"),
        ("null", b"null", 400, "invalid_body"),
        ("no body", b"", 400, "missing_title"),
        ("missing", b"{}", 400, "missing_title"),
        ("null member", b'{"title":null}', 400, "invalid_title"),
        ("empty text", b'{"title":""}', 400, "missing_title"),
        ("number for text", b'{"title":1}', 400, "invalid_title"),
        ("text for number", b'{"title":"t","expected_version":"1"}', 400, "invalid_expected_version"),
        ("float for number", b'{"title":"t","expected_version":1.0}', 400, "invalid_expected_version"),
        ("bool for number", b'{"title":"t","expected_version":true}', 400, "invalid_expected_version"),
        ("negative", b'{"title":"t","expected_version":-1}', 400, "invalid_expected_version"),
        ("unknown member", b'{"title":"t","stream_seq":7}', 400, "unknown_field"),
        ("mass assignment", b'{"title":"t","prev_event_hash":"x"}', 400, "unknown_field"),
        ("__proto__", b'{"title":"t","__proto__":{}}', 400, "unknown_field"),
        ("duplicate key", b'{"title":"t","title":"u"}', 400, "invalid_json"),
        ("duplicate key, spaced", b'{"title" :"t","title":"u"}', 400, "invalid_json"),
        ("NUL", b'{"title":"a\\u0000b"}', 400, "invalid_json"),
        ("raw NUL", b'{"title":"a\x00b"}', 400, "invalid_json"),
        ("lone surrogate", b'{"title":"\\ud800"}', 400, "invalid_json"),
        ("invalid UTF-8", b'{"title":"\xff"}', 400, "invalid_json"),
        ("UTF-16", '{"title":"t"}'.encode("utf-16"), 400, "invalid_json"),
        ("BOM", b"\xef\xbb\xbf" + ROOM, 400, "invalid_json"),
        ("NaN", b'{"title":NaN}', 400, "invalid_json"),
        ("1e400", b'{"title":"t","expected_version":1e400}', 400, "number_out_of_range"),
        ("2^53", b'{"title":"t","expected_version":9007199254740993}', 400, "number_out_of_range"),
        ("2^70", b'{"title":"t","expected_version":1180591620717411303424}', 400, "number_out_of_range"),
        ("deep", b'{"title":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
        ("enum", b'{"title":"t","zone":"nowhere"}', 400, "invalid_zone"),
        ("too long", b'{"title":"' + b"a" * 501 + b'"}', 400, "invalid_title"),
        ("1 MiB", BIG, 413, "body_too_large"),
    ]


@pytest.mark.parametrize(("name", "body", "status", "code"), bodies(), ids=[row[0] for row in bodies()])
def test_a_bad_body_is_a_client_error(stack: Stack, name: str, body: bytes, status: int, code: str) -> None:
    workspace = b"x-workspace-id: ws_bad_body"
    reply = exchange(stack.url, request("POST", "/v1/rooms", body, workspace))
    assert (reply.status, reply.json()["error"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance"} <= reply.json().keys()
    rooms = httpx.get(f"{stack.url}/v1/rooms", headers={"x-workspace-id": "ws_bad_body"}).json()["rooms"]
    assert rooms == []


def get(path: str, *headers: bytes, host: bytes = b"Host: HOST") -> bytes:
    return request("GET", path, None, *headers, host=host)


def post(*headers: bytes, path: str = "/v1/rooms", body: bytes = ROOM) -> bytes:
    return request("POST", path, body, *headers)


HEADS: dict[tuple[int, str], dict[str, bytes]] = {
    (400, "invalid_host"): {"two hosts": get("/v1/rooms", b"Host: evil.example")},
    (400, "invalid_http"): {
        "bare LF": b"GET /v1/rooms HTTP/1.1\nHost: HOST\n\n",
        "folded": get("/v1/rooms", b"X: a\r\n b"),
        "length and chunks": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
        "two lengths": post(b"Content-Length: 99"),
        "odd encoding": post(b"Transfer-Encoding: xchunked"),
        "garbage": b"\x16\x03\x01\x02\x00\r\n\r\n",
    },
    (400, "invalid_workspace_id"): {
        "dotted workspace": get("/v1/rooms", b"x-workspace-id: a.b"),
        "long workspace": get("/v1/rooms", b"x-workspace-id: " + b"a" * 65),
    },
    (400, "invalid_idempotency_key"): {
        "long key": post(b"Idempotency-Key: " + b"k" * 256),
        "empty key": post(b"Idempotency-Key: "),
    },
    (400, "invalid_from_seq"): {
        "cursor in words": get("/v1/streams/workspace?from_seq=soon"),
        "negative cursor": get("/v1/streams/workspace?from_seq=-1"),
        "huge cursor": get("/v1/streams/workspace?from_seq=99999999999999999999"),
    },
    (403, "host_not_allowed"): {
        "rebinding": get("/v1/rooms", host=b"Host: evil.example"),
        "look-alike": get("/v1/rooms", host=b"Host: localhost.evil.example"),
        "userinfo": get("/v1/rooms", host=b"Host: 127.0.0.1@evil.example"),
        "no host": get("/v1/rooms", host=b""),
    },
    (403, "origin_not_allowed"): {
        "stranger's page": post(b"Origin: http://evil.example"),
        "sandboxed page": post(b"Origin: null"),
        "cross-site": post(b"Sec-Fetch-Site: cross-site"),
    },
    (404, "not_found"): {"unknown path": get("/v1/nowhere"), "double slash": get("//v1/rooms")},
    (404, "room_not_found"): {
        "NUL in an id": get("/v1/rooms/%00"),
        "surrogate in an id": get("/v1/rooms/%ed%a0%80"),
        "NUL in a parent": post(path="/v1/rooms/%00/threads"),
        "other prefix": post(path="/v1/rooms/th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB/threads"),
        "unknown stream": get("/v1/streams/rooms/room_none"),
    },
    (405, "method_not_allowed"): {
        "not POST": get("/v1/commands"),
        "PUT": request("PUT", "/v1/rooms", ROOM),
        "DELETE": request("DELETE", "/v1/rooms"),
        "TRACE": request("TRACE", "/v1/rooms"),
        "POST to a stream": post(path="/v1/streams/workspace"),
    },
    (406, "not_acceptable"): {"stream as JSON": get("/v1/streams/workspace", b"Accept: application/json")},
    (415, "unsupported_media_type"): {
        "form": post(b"Content-Type: text/plain"),
        "multipart": post(b"Content-Type: multipart/form-data"),
    },
    (415, "unsupported_content_encoding"): {"gzip": post(b"Content-Encoding: gzip")},
    (431, "headers_too_large"): {
        "100 KB header": get("/v1/rooms", b"X-Filler: " + b"a" * 100_000),
        "5 MB header": get("/v1/rooms", b"X-Filler: " + b"a" * 5_000_000),
        "10,000 headers": get("/health", *(b"X-%d: a" % number for number in range(10_000))),
        "long path": get("/v1/" + "a" * 200_000),
    },
}
ROWS = [(name, raw, status, code) for (status, code), rows in HEADS.items() for name, raw in rows.items()]


@pytest.mark.parametrize(("name", "raw", "status", "code"), ROWS, ids=[row[0] for row in ROWS])
def test_a_bad_request_is_a_client_error(stack: Stack, name: str, raw: bytes, status: int, code: str) -> None:
    reply = exchange(stack.url, raw)
    assert (reply.status, reply.json()["error"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"


def test_ids_of_another_workspace_are_unknown(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url) as client:
        room = client.post("/v1/rooms", json={"title": "t"}, headers={"x-workspace-id": "ws_mine"}).json()["room_id"]
        stranger = {"x-workspace-id": "ws_stranger"}
        assert client.post(f"/v1/rooms/{room}/threads", json={"title": "t"}, headers=stranger).status_code == 404
        assert client.get(f"/v1/rooms/{room}", headers=stranger).status_code == 404
        assert client.get(f"/v1/streams/rooms/{room}", headers=stranger).status_code == 404
        events = client.get("/v1/events", params={"stream_type": "room", "stream_id": room}, headers=stranger)
        assert events.json()["events"] == []


def test_a_text_near_the_limit_is_kept_to_the_byte(stack: Stack) -> None:
    text = 'ä\r\n\t\\"\u2028\U0001f600' * 15_000
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": "ws_large"}, timeout=20) as client:
        room = client.post("/v1/rooms", json={"title": "t"}).json()["room_id"]
        thread = client.post(f"/v1/rooms/{room}/threads", json={"title": "t"}).json()["thread_id"]
        said = client.post(f"/v1/threads/{thread}/messages", json={"content_md": text}).json()
        kept = client.get(f"/v1/messages/{said['message_id']}").json()["message"]
        assert kept["content_md"] == text
        too_large = client.post(f"/v1/threads/{thread}/messages", json={"content_md": "x" * 600_000})
        assert (too_large.status_code, too_large.json()["error"]) == (413, "event_too_large")
