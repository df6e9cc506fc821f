"""Programs that know nothing of us, through the forward proxy: what is allowed gets out, and all of it is on record."""

import base64
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import orjson
import psutil
import pytest

from agentos_runtime.datadir import DataDir
from tests.fixtures.outside import Outside, outside
from tests.fixtures.stack import Stack, wait_until

WAIT_S: Final = 30
MIB: Final = 1024 * 1024


class Room:
    """A workspace of a test, and the proxy as it is named there."""

    def __init__(self, stack: Stack, client: httpx.Client, workspace_id: str) -> None:
        self.client = client
        self.workspace_id = workspace_id
        parts = urlsplit(str(stack.status()["gateway_url"]))
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.pid = stack.pid("gateway")

    def url(self, user: str = "") -> str:
        """As ``HTTPS_PROXY`` has it."""
        return f"http://{self.workspace_id}+{user}@{self.host}:{self.port}"

    def allow(self, port: int, *methods: str, **more: Any) -> None:
        """A rule that allows methods at a port of this machine."""
        body = {"host": "127.0.0.1", "port": port, "private": True, "methods": list(methods), **more}
        answer = self.client.post("/v1/egress/rules", json=body)
        assert answer.status_code == 201, answer.text

    def newest(self) -> dict[str, Any]:
        """The last request on record."""
        found = self.client.get("/v1/egress/requests", params={"limit": 1}).json()["requests"]
        return dict(found[0]) if found else {}

    def ended(self) -> dict[str, Any]:
        """The last request, once it has ended."""
        wait_until(lambda: self.newest().get("outcome") is not None, WAIT_S, lambda: str(self.newest()))
        return self.newest()

    def credentials(self, user: str = "") -> bytes:
        """The field that names the caller."""
        text = base64.b64encode(f"{self.workspace_id}+{user}".encode())
        return b"Proxy-Authorization: Basic " + text + b"\r\n"

    def connect(self) -> socket.socket:
        """A connection to the proxy."""
        return socket.create_connection((self.host, self.port), timeout=WAIT_S)

    @contextlib.contextmanager
    def tunnel(self, port: int, host: str = "127.0.0.1", user: str = "") -> Iterator[tuple[socket.socket, bytes]]:
        """CONNECT, and its answer."""
        with self.connect() as made:
            made.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n".encode())
            made.sendall(self.credentials(user) + b"\r\n")
            yield made, read_head(made)


def to_end(made: socket.socket) -> bytes:
    """All that comes."""
    read = b""
    with contextlib.suppress(ConnectionError):
        while piece := made.recv(65536):
            read += piece
    return read


def read_head(made: socket.socket) -> bytes:
    """Up to the empty line; of a refusal all that comes."""
    read = b""
    while b"\r\n\r\n" not in read or (b" 200 " not in read.split(b"\r\n")[0] and not read.endswith(b"}")):
        piece = made.recv(65536)
        if not piece:
            break
        read += piece
    return read


def told(answer: bytes) -> dict[str, Any]:
    """The JSON of a refusal."""
    found: dict[str, Any] = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    return found


@pytest.fixture(scope="module")
def world() -> Iterator[Outside]:
    with outside() as found:
        yield found


@pytest.fixture
def room(stack: Stack) -> Iterator[Room]:
    workspace_id = f"ws_{uuid4().hex[:12]}"
    headers = {"x-workspace-id": workspace_id}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as made:
        yield Room(stack, made, workspace_id)


def test_a_read_that_a_rule_allows(room: Room, world: Outside) -> None:
    room.allow(world.port, "GET")
    with httpx.Client(proxy=room.url(), timeout=WAIT_S) as through:
        for number in range(3):
            answer = through.get(world.url(f"/read/{number}"))
            assert (answer.status_code, answer.text) == (200, "seen ")
            assert answer.headers["set-cookie"] == "session=very-secret"
    found = room.ended()
    assert (found["method"], found["status"], found["target_url"]) == ("GET", "succeeded", world.url("/read/2"))
    assert (found["outcome"]["status"], found["outcome"]["bytes_in"]) == (200, 5)
    assert [world.of(f"/read/{number}") for number in range(3)] == [1, 1, 1]


def test_a_tunnel_that_a_rule_allows(room: Room, world: Outside) -> None:
    room.allow(world.port, "CONNECT")
    agent_id = room.client.post("/v1/agents", json={"display_name": "A"}).json()["agent_id"]
    asked = b"GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with room.tunnel(world.port, user=f"{agent_id}:") as (made, answer):
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        made.sendall(asked)
        read = to_end(made)
    assert read.endswith(b"seen ")
    found = room.ended()
    assert (found["method"], found["status"]) == ("CONNECT", "succeeded")
    assert (found["requested_by_type"], found["requested_by_id"]) == ("agent", agent_id)
    outcome = found["outcome"]
    assert (outcome["bytes_out"], outcome["bytes_in"], outcome["ending"]) == (len(asked), len(read), "closed")


def test_what_nobody_listed_is_refused_until_it_is_approved(room: Room, world: Outside) -> None:
    with room.tunnel(world.port) as (_, answer):
        assert answer.startswith(b"HTTP/1.1 403 "), answer
    refused = told(answer)
    assert (refused["error"], refused["layer"]) == ("policy_denied", "policy")
    assert refused["reason_codes"][0] == "external_write_requires_approval"
    assert (refused["host"], refused["port"], refused["method"]) == ("127.0.0.1", world.port, "CONNECT")
    assert refused["rule_missing"] == {"host": "127.0.0.1", "port": world.port, "methods": ["CONNECT"]}
    assert refused["next_steps"]
    assert refused["approval_url"].startswith(room.client.base_url.join("/v1/approvals/").__str__())
    approval_id = refused["approval_url"].rpartition("/")[2]
    decided = room.client.post(f"/v1/approvals/{approval_id}/decide", json={"decision": "approve"})
    assert decided.status_code == 200, decided.text
    with room.tunnel(world.port) as (_, answer):  # approved, and still an address of this machine
        assert (told(answer)["layer"], told(answer)["reason_codes"]) == ("address", ["egress.ip_denied"])
    with httpx.Client(proxy=room.url(), timeout=WAIT_S) as through:
        first = through.post(world.url("/write"), content=b"17 apples")
        assert (first.status_code, first.json()["path"], first.json()["method"]) == (403, "/write", "POST")
        again = through.post(world.url("/write"), content=b"17 apples")
        assert again.json()["approval_url"] == first.json()["approval_url"]  # it is asked for already
    assert world.of("/write") == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_no_tunnel_leads_inside(host: str, room: Room) -> None:
    rule = {"host": host.strip("[]"), "port": 8123, "methods": ["CONNECT"]}
    assert room.client.post("/v1/egress/rules", json=rule).status_code == 201
    with room.tunnel(8123, host) as (_, answer):
        assert answer.startswith(b"HTTP/1.1 403 "), answer
    assert (told(answer)["layer"], told(answer)["reason_codes"]) == ("address", ["egress.ip_denied"])
    wait_until(lambda: room.newest().get("status") == "blocked", WAIT_S, lambda: str(room.newest()))


def test_a_deny_rule_and_a_missing_run_are_told(room: Room, world: Outside) -> None:
    rule = {"host": "127.0.0.1", "effect": "deny"}
    assert room.client.post("/v1/egress/rules", json=rule).status_code == 201
    with room.tunnel(world.port) as (_, answer):
        assert told(answer)["reason_codes"] == ["egress.host_not_allowed"]
        assert told(answer)["rule_missing"] is None
    with room.tunnel(world.port, user="run:run_none") as (_, answer):
        assert (told(answer)["layer"], told(answer)["reason_codes"]) == ("identity", ["run_not_found"])


BAD: Final = {
    b"GET / HTTP/1.1\r\nHost: x\r\n": 400,
    b"GET http://example.org/\r\nHost: x\r\n": 400,
    b"GET  http://example.org/ HTTP/1.1\r\nHost: x\r\n": 400,
    b"GET http://example.org/ HTTP/2.0\r\nHost: x\r\n": 505,
    b"GET http://example.org/ HTTP/1.1\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n": 400,
    b"GET http://a@example.org/ HTTP/1.1\r\nHost: x\r\n": 400,
    b"GET http://example.org/../x HTTP/1.1\r\nHost: x\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nA : b\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\n folded: b\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nA: b\nc: d\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n": 400,
    b"POST http://example.org/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n": 400,
    b"POST http://example.org/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n": 400,
    b"POST http://example.org/ HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n": 400,
    b"POST http://example.org/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n": 400,
    b"POST http://example.org/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nExpect: more\r\n": 417,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100: 431,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\na: " + b"b" * 70_000 + b"\r\n": 431,
    b"CONNECT example.org HTTP/1.1\r\nHost: x\r\n": 400,
    b"CONNECT example.org:443/x HTTP/1.1\r\nHost: x\r\n": 400,
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n": 400,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic !!\r\n": 407,
    b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Digest YTpi\r\n": 407,
}


@pytest.mark.parametrize("head", BAD, ids=range(len(BAD)))
def test_what_can_be_read_in_two_ways_is_refused(head: bytes, room: Room) -> None:
    with room.connect() as made:
        made.sendall(head + b"\r\n")
        answer = read_head(made)
    assert answer.startswith(f"HTTP/1.1 {BAD[head]} ".encode()), answer
    assert (b"Proxy-Authenticate: Basic" in answer) == (BAD[head] == 407)
    assert room.newest() == {}


def test_bodies_of_all_kinds(room: Room, world: Outside) -> None:
    room.allow(world.port, "POST")
    long = b"0123456789 " * 20_000
    with httpx.Client(proxy=room.url(), timeout=WAIT_S) as through:
        assert through.post(world.url("/short"), content=b"17 apples").text == "seen 17 apples"
        headers = {"content-length": str(len(long)), "expect": "100-continue"}
        assert through.post(world.url("/long"), content=iter((long,)), headers=headers).content == b"seen " + long
        assert through.get(world.url("/get")).status_code == 403
        assert through.post(world.url("/short"), content=b"more").text == "seen more"
    assert [hit[2] for hit in world.hits if hit[1] == "/long"] == [long]


def test_secrets_are_put_in_and_taken_out_and_none_slips_through(room: Room, world: Outside) -> None:
    room.allow(world.port, "POST")
    kept = {
        "secret_name": "till",
        "secret_value": "correct-horse-battery-17",
        "hosts": ["127.0.0.1"],
        "inject_in": ["body"],
    }
    answer = room.client.post("/v1/secrets", json=kept)
    assert answer.status_code in (200, 201), answer.text
    token = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
    with httpx.Client(proxy=room.url(), timeout=WAIT_S) as through:
        answer = through.post(world.url("/till"), content=b"key={{secret:till}}")
        assert answer.text == "seen key=[redacted]"
        refused = through.post(world.url("/leak"), content=f"token={token}")
        assert (refused.status_code, refused.json()["layer"]) == (403, "dlp")
        parts = (b"x " * 50_000, token.encode(), b" x" * 50_000)
        headers = {"content-length": str(sum(map(len, parts)))}
        late = through.post(world.url("/late"), content=iter(parts), headers=headers)
        assert (late.status_code, late.json()["layer"]) == (403, "dlp")
    assert [hit[2] for hit in world.hits if hit[1] == "/till"] == [b"key=correct-horse-battery-17"]
    assert world.of("/leak") == 0
    assert not any(token.encode() in hit[2] for hit in world.hits)
    found = room.ended()
    assert (found["status"], found["outcome"]["error_code"]) == ("outcome_unknown", "egress.secret_found")
    wait_until(lambda: len(room.client.get("/v1/incidents").json()["incidents"]) == 2, WAIT_S)


def test_programs_take_it_from_their_environment(room: Room, world: Outside) -> None:
    room.allow(world.port, "CONNECT", "GET")
    room_id = room.client.post("/v1/rooms", json={"title": "R"}).json()["room_id"]
    run_id = room.client.post("/v1/runs", json={"room_id": room_id}).json()["run_id"]
    proxy = room.url(f"run:{run_id}")
    env = {"http_proxy": proxy, "https_proxy": proxy, "PATH": os.defpath}
    url = world.url("/curl")
    plain = subprocess.run(["curl", "-sS", url], env=env, capture_output=True, check=False, timeout=WAIT_S)
    assert plain.stdout == b"seen ", plain.stderr
    tunnelled = subprocess.run(["curl", "-sSp", url], env=env, capture_output=True, check=False, timeout=WAIT_S)
    assert tunnelled.stdout == b"seen ", tunnelled.stderr
    code = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
    library = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False, timeout=WAIT_S)
    assert library.stdout == b"seen \n", library.stderr
    found = room.ended()
    assert (found["run_id"], found["room_id"]) == (run_id, room_id)


@contextlib.contextmanager
def talker(play: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that plays for each connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    made, _ = server.accept()
                    threading.Thread(target=one, args=(made,), daemon=True).start()

        def one(made: socket.socket) -> None:
            with made, contextlib.suppress(OSError):
                play(made)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def echo(made: socket.socket) -> None:
    """Says everything back."""
    while data := made.recv(65536):
        made.sendall(data)


def test_what_switches_protocols_and_what_streams_pass_a_tunnel(room: Room) -> None:
    def play(made: socket.socket) -> None:
        head = made.recv(65536)
        if b"Upgrade: websocket" in head:
            made.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            echo(made)
        else:
            made.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            while said := made.recv(1):
                made.sendall(b"data: " + said + b"\n\n")

    with talker(play) as port:
        room.allow(port, "CONNECT", "GET")
        with room.tunnel(port) as (made, answer):
            assert b" 200 " in answer
            made.sendall(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            assert made.recv(65536).startswith(b"HTTP/1.1 101 ")
            made.sendall(b"\x81\x05hello")
            assert made.recv(65536) == b"\x81\x05hello"
        with room.tunnel(port) as (made, answer):
            made.sendall(b"GET /events HTTP/1.1\r\n\r\n")
            assert made.recv(65536).endswith(b"\r\n\r\n")
            for said in (b"1", b"2"):  # each comes while the stream goes on
                made.sendall(said)
                assert made.recv(65536) == b"data: " + said + b"\n\n"


def test_a_kill_switch_cuts_what_is_open(room: Room) -> None:
    waits = []
    with talker(echo) as port:
        room.allow(port, "CONNECT")
        for _ in range(3):
            with room.tunnel(port) as (made, answer):
                assert b" 200 " in answer
                made.sendall(b"a")
                assert made.recv(1) == b"a"
                room.client.post("/v1/policy/kill-switch", json={"action": "engage"}).raise_for_status()
                began = time.monotonic()
                with contextlib.suppress(ConnectionError):
                    assert made.recv(1) == b""
                waits.append(time.monotonic() - began)
            found = room.ended()
            assert (found["status"], found["outcome"]["error_code"]) == ("outcome_unknown", "cut")
            assert (found["outcome"]["reason_code"], found["outcome"]["bytes_in"]) == ("kill_switch_active", 1)
            with room.tunnel(port) as (_, answer):
                assert told(answer)["reason_codes"][0] == "kill_switch_active"
            right = {"action": "release", "reason": "it is right again"}
            room.client.post("/v1/policy/kill-switch", json=right).raise_for_status()
    assert min(waits) < 0.1, waits


def test_a_rule_bounds_what_comes_back(room: Room, world: Outside) -> None:
    room.allow(world.port, "CONNECT", response_bytes=100_000)
    with room.tunnel(world.port) as (made, answer):
        assert b" 200 " in answer
        made.sendall(f"GET /big/{MIB} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert len(to_end(made)) < MIB
    assert room.ended()["outcome"]["ending"] == "limit"


def test_long_bodies_in_flat_memory(room: Room) -> None:
    size = int(os.environ.get("EGRESS_STREAM_MIB", "64")) * MIB  # noqa: TID251 - the long form is by hand
    piece = bytes(range(256)) * 256

    def play(made: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += made.recv(65536)
        got = len(head.partition(b"\r\n\r\n")[2])
        while got < size and (data := made.recv(1 << 20)):
            got += len(data)
        made.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n")
        made.sendall(f"Content-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        for _ in range(size // len(piece)):
            made.sendall(piece)

    def pieces() -> Iterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    gateway = psutil.Process(room.pid)
    with talker(play) as port:
        room.allow(port, "CONNECT", "POST")
        before = gateway.memory_info().rss
        most = before
        with httpx.Client(proxy=room.url(), timeout=120) as through:
            headers = {"content-length": str(size)}
            with through.stream("POST", f"http://127.0.0.1:{port}/", content=pieces(), headers=headers) as answer:
                got = 0
                for part in answer.iter_raw():
                    got += len(part)
                    most = max(most, gateway.memory_info().rss)
        assert got == size
        with room.tunnel(port) as (made, _):
            made.sendall(b"POST / HTTP/1.1\r\n\r\n")
            for part in pieces():
                made.sendall(part)
            got = 0
            while data := made.recv(1 << 20):
                got += len(data)
                most = max(most, gateway.memory_info().rss)
        assert got > size
    assert most - before < 16 * MIB, f"{(most - before) / MIB:.1f} MiB more"


def test_where_credentials_are_checked_a_token_is_needed(start_stack: Callable[..., Stack], world: Outside) -> None:
    stack = start_stack(env={"AGENTOS_AUTH": "enforced"})
    local = {"authorization": f"Bearer {DataDir(stack.data_dir).local_token.read_text().strip()}"}
    with httpx.Client(base_url=stack.url, headers=local, timeout=60, trust_env=False) as client:
        room = Room(stack, client, "ws_dev")
        agent = client.post("/v1/agents", json={"display_name": "A"}).json()
        owner = client.post("/v1/principals/legacy/ensure", json={"actor_type": "user", "actor_id": "o"}).json()
        given = {
            "issued_to_principal_id": agent["principal_id"],
            "granted_by_principal_id": owner["principal"]["principal_id"],
            "scopes": {"action_types": ["external.write"], "egress_domains": ["127.0.0.1"]},
        }
        granted = client.post("/v1/capabilities/grant", json=given)
        assert granted.status_code == 201, granted.text
        token = granted.json()["token"]
        room.allow(world.port, "CONNECT")
        for user in ("", f"{agent['agent_id']}:", "token:wrong"):
            with room.tunnel(world.port, user=user) as (_, answer):
                assert answer.startswith(b"HTTP/1.1 407 "), answer
                assert b'Proxy-Authenticate: Basic realm="agentos"' in answer
        for user in (f"token:{token}", f"{agent['agent_id']}:{token}"):
            with room.tunnel(world.port, user=user) as (_, answer):
                assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert room.newest()["requested_by_id"] == agent["agent_id"]
        revoked = client.post("/v1/capabilities/revoke", json={"token_id": granted.json()["token_id"]})
        assert revoked.status_code in (200, 201), revoked.text
        with room.tunnel(world.port, user=f"token:{token}") as (_, answer):
            assert told(answer)["reason_codes"] == ["capability_token_revoked"]
