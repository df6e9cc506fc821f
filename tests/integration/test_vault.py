"""The vault: agents name secrets, the gateway puts them in and takes them out again, and nobody else ever sees one."""

import base64
import gzip
import json
import random
import string
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest

from agentos_shared.dlp import REDACTED
from agentos_shared.dlp.exact import forms
from tests.fixtures.stack import CLI, Stack, running_stack, wait_until

_LETTERS: Final = string.ascii_letters + string.digits
_RNG: Final = random.SystemRandom()
VALUES: Final = {
    "github": "gh" + "p_" + "".join(_RNG.choice(_LETTERS) for _ in range(36)),
    "plain": "".join(_RNG.choice(_LETTERS) for _ in range(20)),
    "odd": 'p"ss/w+rd é=' + "".join(_RNG.choice(_LETTERS) for _ in range(8)),
    "old": "".join(_RNG.choice(_LETTERS) for _ in range(24)),
}
SENT: Final[list[dict[str, Any]]] = []


class _Echo(BaseHTTPRequestHandler):
    """Answers with all that it got, in many forms."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        got = {"path": self.path, "headers": dict(self.headers.items()), "body": body.decode(errors="replace")}
        SENT.append(got)
        raw = json.dumps(got).encode()
        told = b"\n".join((raw, base64.b64encode(raw), b"-" + base64.b64encode(b"z" + raw), raw.hex().encode()))
        told += b"\n" + base64.b64encode(gzip.compress(raw)) if self.path.startswith("/gzip") else b""
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("x-seen", self.headers.get("authorization", "none"))
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def vault_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("vault") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def client(vault_stack: Stack, echo: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=vault_stack.url, timeout=60) as made:
        rule = {"host": "127.0.0.1", "port": echo, "private": True, "methods": ["GET", "POST"]}
        assert made.post("/v1/egress/rules", json=rule).status_code == 201
        yield made


def keep(client: httpx.Client, name: str, value: str, status: int = 201, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/secrets", json={"secret_name": name, "secret_value": value, **more})
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    assert value not in answer.text
    return told


def send(client: httpx.Client, echo: int, path: str = "/", **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/egress/requests", json={"target_url": f"http://127.0.0.1:{echo}{path}", **body})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_secret_is_kept_and_listed_without_its_value(client: httpx.Client) -> None:
    told = keep(client, "github", VALUES["github"], hosts=["127.0.0.1"], description="reads issues")
    assert (told["created"], told["version"], told["algorithm"]) == (True, 1, "aes-256-gcm")
    keep(client, "plain", VALUES["plain"], hosts=["127.0.0.1"], inject_in=["header", "query", "body"])
    keep(client, "odd", VALUES["odd"], hosts=["127.0.0.1"], methods=["POST"], inject_in=["body"])
    listed = client.get("/v1/secrets")
    assert [secret["secret_name"] for secret in listed.json()["secrets"]] == ["github", "odd", "plain"]
    assert not any(value in listed.text for value in VALUES.values())
    assert [event["data"]["secret_name"] for event in events(client, "secret.upserted")] == ["github", "plain", "odd"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"secret_name": "a b", "secret_value": "long enough"}, 400, "invalid_secret_name"),
        ({"secret_value": "long enough"}, 400, "invalid_secret_name"),
        ({"secret_name": "a", "secret_value": "short"}, 400, "invalid_secret_value"),
        ({"secret_name": "a"}, 400, "invalid_secret_value"),
        ({"secret_name": "a", "secret_value": "long enough", "hosts": ["http://x"]}, 400, "invalid_host"),
        ({"secret_name": "a", "secret_value": "long enough", "actor_type": "agent"}, 403, "secret_needs_person"),
        ({"secret_name": "none", "secret_value": "long enough", "must_exist": True}, 404, "secret_not_found"),
    ],
)
def test_what_is_refused(client: httpx.Client, body: dict[str, Any], status: int, code: str) -> None:
    answer = client.post("/v1/secrets", json=body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert "long enough" not in answer.text


def test_values_are_given_to_nobody_in_open_mode(client: httpx.Client) -> None:
    secret_id = client.get("/v1/secrets").json()["secrets"][0]["secret_id"]
    answer = client.post(f"/v1/secrets/{secret_id}/access", json={"actor_type": "service"})
    assert (answer.status_code, answer.json()["error"]) == (403, "secret_access_needs_credentials")


def test_a_named_secret_is_put_in_and_scrubbed_from_the_answer(client: httpx.Client, echo: int) -> None:
    told = send(
        client,
        echo,
        "/echo?key={{secret:plain}}",
        headers={"authorization": "token {{secret:github}}"},
    )
    assert told["decision"] == "allow", told
    assert SENT[-1]["headers"]["authorization"] == f"token {VALUES['github']}"
    assert SENT[-1]["path"] == f"/echo?key={VALUES['plain']}"
    text = json.dumps(told)
    assert REDACTED in told["outcome"]["content"]["text"]
    assert ["x-seen", f"token {REDACTED}"] in told["outcome"]["headers"]
    for value in (VALUES["github"], VALUES["plain"]):
        assert not any(form.text in text.encode() for form in forms(value.encode()))
    used = [event["data"]["secret_name"] for event in events(client, "secret.injected")]
    assert sorted(used) == ["github", "plain"]


def test_a_body_is_filled_and_a_compressed_answer_is_scrubbed(client: httpx.Client, echo: int) -> None:
    told = send(client, echo, "/gzip", method="POST", body='{"password": "{{secret:odd}}"}')
    assert told["decision"] == "allow", told
    assert VALUES["odd"] in SENT[-1]["body"]
    text = told["outcome"]["content"]["text"]
    assert "H4sI" not in text
    assert not any(form.text in text.encode() for form in forms(VALUES["odd"].encode()))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"headers": {"x-token": "{{secret:nothing}}"}}, "secret.not_found"),
        ({"headers": {"x-token": "{{secret:odd}}"}, "method": "POST"}, "secret.place_not_bound"),
        ({"method": "POST", "body": "{{secret:github}}"}, "secret.place_not_bound"),
        ({"headers": {"x-token": "{{secret:elsewhere}}"}}, "secret.host_not_bound"),
    ],
)
def test_a_secret_goes_only_where_it_is_bound(
    client: httpx.Client, echo: int, request_: dict[str, Any], code: str
) -> None:
    if not named(client, "elsewhere"):
        keep(client, "elsewhere", VALUES["old"], hosts=["api.github.com"])
    before = len(SENT)
    told = send(client, echo, "/bound", **request_)
    assert (told["decision"], told["reason_code"]) == ("deny", code)
    assert len(SENT) == before


@pytest.mark.parametrize("form", ["plain", "base64+1", "hex", "reversed"])
def test_a_value_that_nobody_named_does_not_leave(client: httpx.Client, echo: int, form: str) -> None:
    text = next(one.text for one in forms(VALUES["plain"].encode()) if one.encoding == form)
    before = len(SENT)
    told = send(client, echo, "/leak", method="POST", body=f"see {text.decode()} there")
    assert (told["decision"], told["reason_code"]) == ("deny", "egress.secret_found")
    assert len(SENT) == before
    leaks = events(client, "secret.leaked.detected")
    assert leaks[-1]["data"]["rule_ids"] == ["vault_secret"]
    incidents = client.get("/v1/incidents").json()["incidents"]
    assert any(incident["category"] == "dlp" for incident in incidents)


def test_what_looks_like_a_secret_does_not_leave(client: httpx.Client, echo: int) -> None:
    key = "AK" + "IA" + "".join(_RNG.choice(string.ascii_uppercase) for _ in range(16))
    told = send(client, echo, "/leak", method="POST", body=f"id {key}")
    assert (told["decision"], told["reason_code"]) == ("deny", "egress.secret_found")
    assert key not in json.dumps(told)


def test_a_new_version_a_new_key_and_an_end(client: httpx.Client, echo: int, vault_stack: Stack) -> None:
    keep(client, "rotating", VALUES["old"], hosts=["127.0.0.1"])
    fresh = "".join(_RNG.choice(_LETTERS) for _ in range(24))
    VALUES["fresh"] = fresh
    assert keep(client, "rotating", fresh, status=200)["version"] == 2
    assert client.get("/v1/secrets").json()["secrets"][-1]["hosts"] == ["127.0.0.1"]
    key_file = vault_stack.data_dir / "secrets-key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    before = key_file.read_text()
    answer = client.post("/v1/secrets/rotate-key", json={})
    assert answer.status_code == 200, answer.text
    assert answer.json()["rewrapped"] >= 5
    assert key_file.read_text() != before
    send(client, echo, "/rotated", headers={"authorization": "Bearer {{secret:rotating}}"})
    assert SENT[-1]["headers"]["authorization"] == f"Bearer {fresh}"
    secret_id = client.get("/v1/secrets").json()["secrets"][-1]["secret_id"]
    assert client.post(f"/v1/secrets/{secret_id}/remove", json={}).status_code == 200
    assert client.post(f"/v1/secrets/{secret_id}/remove", json={}).status_code == 404
    told = send(client, echo, "/gone", headers={"authorization": "Bearer {{secret:rotating}}"})
    assert told["reason_code"] == "secret.not_found"


def test_the_command_takes_values_from_standard_input(vault_stack: Stack) -> None:
    value = VALUES["cli"] = "".join(_RNG.choice(_LETTERS) for _ in range(20))
    where = ["--data-dir", str(vault_stack.data_dir)]
    done = subprocess.run([*CLI, "secrets", "set", "from-cli", "--host", "api.github.com", *where], input=value + "\n",
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([*CLI, "secrets", "list", *where], capture_output=True, text=True, timeout=60)
    assert "from-cli" in listed.stdout
    assert value not in done.stdout + done.stderr + listed.stdout
    gone = subprocess.run([*CLI, "secrets", "rm", "from-cli", *where], capture_output=True, text=True, timeout=60)
    assert gone.returncode == 0, gone.stderr


async def test_no_byte_of_a_value_is_anywhere(client: httpx.Client, vault_stack: Stack) -> None:
    """Last of the file: over all that the tests before it left in files, logs, JetStream and tables."""
    seq = events(client, "secret.upserted")[-1]["stream_seq"]
    wait_until(lambda: bool(client.get("/v1/incidents", params={"min_position": f"workspace/ws_dev@{seq}"})), 10)
    owner = await asyncpg.connect(vault_stack.postgres_url)
    try:
        dump = b"\n".join([chunk async for chunk in _dump(owner)])
        await owner.execute("checkpoint")
    finally:
        await owner.close()
    patterns = [(name, form.encoding, form.text) for name, value in VALUES.items() for form in forms(value.encode())]
    assert [found for found in patterns if found[2] in dump] == []
    files = [path for path in vault_stack.data_dir.rglob("*") if path.is_file()]
    assert any("nats" in str(path) for path in files)
    assert any(path.suffix == ".log" for path in files)
    hits = [(str(path), name, form) for path in files for name, form in _found(path, patterns)]
    assert hits == []
    assert [path for path in files if path.name.startswith("core")] == []
    assert [pid for pid in _pids(vault_stack) if not _is_closed(pid)] == []


def _is_closed(pid: int) -> bool:
    """Whether a process leaves no core file and shows no value in its arguments."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    core = next(line for line in limits.split("\n") if line.startswith("Max core file size"))
    arguments = Path(f"/proc/{pid}/cmdline").read_text()
    return core.split()[4] == "0" and not any(value in arguments for value in VALUES.values())


def _found(path: Path, patterns: list[tuple[str, str, bytes]]) -> list[tuple[str, str]]:
    raw = path.read_bytes()
    return [(name, form) for name, form, text in patterns if text in raw]


def _pids(stack: Stack) -> list[int]:
    components = stack.status()["components"]
    return [components[name]["pid"] for name in ("api", "gateway")]


async def _dump(owner: asyncpg.Connection) -> Any:
    tables = await owner.fetch(
        "select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables "
        "where schemaname not in ('pg_catalog', 'information_schema')"
    )
    for table in tables:
        for row in await owner.fetch(f"select t::text as line from {table['name']} t"):
            yield row["line"].encode()


def events(client: httpx.Client, event_type: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/events", params={"event_type": event_type}).json()["events"]
    return found


def named(client: httpx.Client, name: str) -> bool:
    return any(secret["secret_name"] == name for secret in client.get("/v1/secrets").json()["secrets"])
