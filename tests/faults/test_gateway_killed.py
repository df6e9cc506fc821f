"""The gateway dies at every step of a request: what was sent is sent once, and every request comes to an end."""

import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.faults.cluster import Cluster, environment
from tests.fixtures.outside import Outside, outside
from tests.fixtures.stack import running_stack, wait_until


class Place(NamedTuple):
    """Where it dies: how often the request has reached the other side by then, and how it stands at the end."""

    hits: int
    status: str


PLACES = {
    "gateway.before_sent": Place(0, "failed"),
    "gateway.after_sent": Place(0, "outcome_unknown"),
    "gateway.after_head": Place(1, "outcome_unknown"),
    "gateway.before_outcome": Place(1, "outcome_unknown"),
    "gateway.after_outcome": Place(1, "succeeded"),
}


@pytest.fixture(scope="module")
def world() -> Iterator[Outside]:
    with outside() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("gateway")
    arms = directory / "arms"
    with running_stack(directory / "data", env=environment(arms)) as stack:
        yield Cluster(stack, arms)


@pytest.fixture
def client(cluster: Cluster, world: Outside) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.stack.url, timeout=60) as made:
        rule = {"host": "127.0.0.1", "port": world.port, "private": True, "methods": ["POST", "GET"]}
        assert made.post("/v1/egress/rules", json=rule).status_code in (200, 201)
        yield made


def ask(client: httpx.Client, url: str, key: str, method: str = "POST") -> httpx.Response:
    body = {"target_url": url, "method": method, "limits": {"timeout_s": 2.0}}
    return client.post("/v1/egress/requests", json=body, headers={"idempotency-key": key})


def seen(client: httpx.Client, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/egress/requests/{request_id}").json()["request"]
    return found


def newest(client: httpx.Client) -> dict[str, Any]:
    found: list[dict[str, Any]] = client.get("/v1/egress/requests", params={"limit": 1}).json()["requests"]
    return found[0]


@pytest.mark.parametrize("place", PLACES)
def test_killed_at(place: str, cluster: Cluster, client: httpx.Client, world: Outside) -> None:
    path = f"/{place}"
    pid = cluster.arm("gateway", f"{place}=exit:1")
    first = ask(client, world.url(path), place)
    cluster.wait_struck("gateway", pid)
    wait_until(lambda: newest(client)["status"] == PLACES[place].status, 30, lambda: str(newest(client)))
    request_id = newest(client)["egress_request_id"]
    assert world.of(path) == PLACES[place].hits
    assert first.status_code in (201, 503), first.text
    again = ask(client, world.url(path), place)
    if PLACES[place].status == "outcome_unknown":
        assert (again.status_code, again.json()["error"]) == (409, "egress_outcome_unknown")
    else:
        assert again.json()["outcome"]["result"] == PLACES[place].status
    assert world.of(path) == PLACES[place].hits  # never a second time
    assert seen(client, request_id)["status"] == PLACES[place].status


def test_what_is_left_of_a_read_may_be_sent_again(cluster: Cluster, client: httpx.Client, world: Outside) -> None:
    pid = cluster.arm("gateway", "gateway.after_head=exit:1")
    ask(client, world.url("/read"), "read", "GET")
    cluster.wait_struck("gateway", pid)
    wait_until(lambda: newest(client)["status"] == "outcome_unknown", 30, lambda: str(newest(client)))
    again = ask(client, world.url("/read"), "read", "GET")
    assert again.json()["outcome"]["result"] == "succeeded"
    assert (world.of("/read"), seen(client, again.json()["egress_request_id"])["attempts"]) == (2, 2)


def test_an_incident_tells_of_what_nobody_knows(cluster: Cluster, client: httpx.Client, world: Outside) -> None:
    pid = cluster.arm("gateway", "gateway.after_sent=exit:1")
    ask(client, world.url("/incident"), "incident")
    cluster.wait_struck("gateway", pid)
    wait_until(lambda: newest(client)["status"] == "outcome_unknown", 30, lambda: str(newest(client)))
    request_id = newest(client)["egress_request_id"]

    def told() -> bool:
        incidents = client.get("/v1/incidents").json()["incidents"]
        return any(request_id in str(incident) for incident in incidents)

    wait_until(told, 10)


def test_a_tunnel_that_the_gateway_leaves_behind(cluster: Cluster, client: httpx.Client, world: Outside) -> None:
    rule = {"host": "127.0.0.1", "port": world.port, "private": True, "methods": ["CONNECT"]}
    assert client.post("/v1/egress/rules", json=rule).status_code in (200, 201)
    gateway = httpx.URL(cluster.stack.status()["gateway_url"])
    with socket.create_connection((gateway.host, gateway.port or 0), timeout=30) as made:
        made.sendall(f"CONNECT 127.0.0.1:{world.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert made.recv(4096).startswith(b"HTTP/1.1 200 ")
        made.sendall(b"GET /in-a-tunnel HTTP/1.1\r\nHost: x\r\n\r\n")
        assert made.recv(4096)
        cluster.stack.wait_healthy({"gateway": cluster.kill("gateway")})
        wait_until(lambda: newest(client)["status"] == "outcome_unknown", 30, lambda: str(newest(client)))
    assert (newest(client)["method"], newest(client)["outcome"]["error_code"]) == ("CONNECT", "gateway_lost")
    assert world.of("/in-a-tunnel") == 1
