"""Long bodies in flat memory, TLS by the host's name, switched protocols, and tunnels."""

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agentos_gateway.address import Pinned, parse
from agentos_gateway.send import Limits, Outbound, OutboundRequest, SendFailed, Timeouts, client_context
from agentos_gateway.send.tunnel import Outcome, Tunnel, adopt, detach, reach
from tests.fixtures.raw_http import Turn, raw_server

WAIT_S = 60
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM_BYTES = int(os.environ.get("EGRESS_STREAM_MIB", "64")) * 1024 * 1024  # noqa: TID251 - the long form is by hand
PIECE = bytes(range(256)) * 256


def to(url: str, address: str = "127.0.0.1") -> Pinned:
    """Judged already: these tests are about what comes after."""
    return Pinned(parse(url), (address,), opened=True, dns_ms=0)


async def _stream() -> AsyncIterator[bytes]:
    for _ in range(STREAM_BYTES // len(PIECE)):
        yield PIECE


async def _echo(turn: Turn) -> None:
    """Sends a chunked body back while it comes."""
    await turn.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while data := await turn.reader.read(65536):
        await turn.answer(data)
        if data.endswith(b"\r\n0\r\n\r\n"):
            return


async def test_a_long_stream_both_ways_in_flat_memory() -> None:
    outbound = Outbound(client_context())
    process = psutil.Process()
    most = 0
    digest = hashlib.sha256()
    expected = hashlib.sha256()
    async for piece in _stream():
        expected.update(piece)
    before = process.memory_info().rss
    request = OutboundRequest("POST", body=_stream(), limits=Limits(body_bytes=None))
    async with (
        asyncio.timeout(WAIT_S),
        raw_server(_echo) as server,
        await outbound.open(to(server.url), request) as response,
    ):
        async for piece in response.body:
            digest.update(piece)
            most = max(most, process.memory_info().rss - before)
        assert response.bytes_in == STREAM_BYTES
    await outbound.close()
    assert digest.digest() == expected.digest()
    assert most < 24 * 1024 * 1024


# TLS.


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "authority.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """The context of a server with these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test server")])
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(subject, key.public_key(), expired=expired)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self.folder / f"{names[0]}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool = False
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)  # noqa: TID251 - OpenSSL looks at the real clock
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=-1 if expired else 1))
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def _over_tls(server_context: ssl.SSLContext, host: str, trusted: Path | None) -> tuple[int, bytes]:
    outbound = Outbound(client_context(trusted))
    try:
        async with asyncio.timeout(WAIT_S), raw_server(OK, tls=server_context) as server:
            where = to(f"https://{host}:{server.port}/")
            async with await outbound.open(where, OutboundRequest("GET")) as response:
                assert (await response.body.read(100))[0] == b"ok"
            async with await outbound.open(where, OutboundRequest("GET")) as response:
                assert server.connections == 1
                return response.status, (await response.body.read(100))[0]
    finally:
        await outbound.close()


async def test_the_certificate_is_checked_against_the_name_and_sni_carries_it(authority: Authority) -> None:
    asked: list[str | None] = []
    context = authority.server("api.test.example")
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    assert await _over_tls(context, "api.test.example", authority.path) == (200, b"ok")
    assert asked == ["api.test.example"]


async def test_a_certificate_for_an_address(authority: Authority) -> None:
    assert await _over_tls(authority.server("127.0.0.1"), "127.0.0.1", authority.path) == (200, b"ok")


@pytest.mark.parametrize(
    ("names", "expired", "trusted"),
    [(("other.example",), False, True), (("api.test.example",), True, True), (("api.test.example",), False, False)],
)
async def test_certificates_that_do_not_count(
    authority: Authority, names: tuple[str, ...], expired: bool, trusted: bool
) -> None:
    context = authority.server(*names, expired=expired)
    with pytest.raises(SendFailed) as caught:
        await _over_tls(context, "api.test.example", authority.path if trusted else None)
    assert (caught.value.phase, caught.value.code, caught.value.bytes_sent) == ("tls", "tls_certificate", False)


class Greeting(asyncio.Protocol):
    """Says something that is not TLS, or nothing."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._words)


@pytest.mark.parametrize(
    ("words", "code"),
    [(b"220 mail.example ready\r\n", "tls_failed"), (b"", "tls_timeout"), (b"\x16\x03", "tls_timeout")],
)
async def test_a_server_that_does_not_speak_tls(words: bytes, code: str) -> None:
    outbound = Outbound(client_context())
    server = await asyncio.get_running_loop().create_server(lambda: Greeting(words), "127.0.0.1", 0)
    request = OutboundRequest("GET", timeouts=Timeouts(tls_s=0.2 if code == "tls_timeout" else 10))
    with pytest.raises(SendFailed) as caught:
        await outbound.open(to(f"https://a.example:{server.sockets[0].getsockname()[1]}/"), request)
    assert (caught.value.phase, caught.value.code, caught.value.bytes_sent) == ("tls", code, False)
    assert outbound.open_connections == 0
    server.close()


# Switched protocols and tunnels.


async def _shout(turn: Turn) -> None:
    await turn.answer(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
    while data := await turn.reader.read(1000):
        await turn.answer(data.upper())
    turn.writer.close()


class Arrival(asyncio.Protocol):
    """The proxy's side of a client's connection, until a tunnel adopts it."""

    def __init__(self) -> None:
        self.transport: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport.set_result(cast("asyncio.Transport", transport))


async def _client() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Transport]:
    """A client's streams, and the other side of its connection."""
    arrival = Arrival()
    server = await asyncio.get_running_loop().create_server(lambda: arrival, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    transport = await arrival.transport
    server.close()
    return reader, writer, transport


async def test_a_connection_that_switches_protocols_becomes_a_tunnel() -> None:
    outbound = Outbound(client_context())
    async with asyncio.timeout(WAIT_S), raw_server(_shout) as server:
        reader, writer, arrived = await _client()
        response = await outbound.open(to(server.url), OutboundRequest("GET", upgrade="websocket"))
        assert response.status == 101
        assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in server.heads[0]
        tunnel = Tunnel(adopt(arrived, b"early, "), detach(response))
        running = asyncio.create_task(tunnel.run())
        writer.write(b"late")
        assert await reader.readexactly(17) == b"hello EARLY, LATE"
        writer.write_eof()
        assert await reader.read() == b""
        assert await running == Outcome("closed", 11, 17)
        assert outbound.open_connections == 0
        writer.close()


@contextlib.asynccontextmanager
async def tunnelled(
    serve: "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]",
    idle_s: float = 60,
    most: int | None = None,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Tunnel, "asyncio.Task[Outcome]"]]:
    """A client's streams through a tunnel to an upstream whose streams ``serve`` gets."""
    upstream = await asyncio.start_server(lambda r, w: serve.set_result((r, w)), "127.0.0.1", 0)
    reader, writer, arrived = await _client()
    far = await reach(to(f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/"))
    tunnel = Tunnel(adopt(arrived), far, idle_s=idle_s, most=most)
    running = asyncio.create_task(tunnel.run())
    async with asyncio.timeout(WAIT_S):
        _, far_writer = await serve
        try:
            yield reader, writer, tunnel, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for one in (writer, far_writer):
                one.close()
                with contextlib.suppress(ConnectionError):
                    await one.wait_closed()
            upstream.close()


def _upstream() -> "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]":
    return asyncio.get_running_loop().create_future()


async def test_the_end_of_one_direction_leaves_the_other() -> None:
    serve = _upstream()
    async with tunnelled(serve) as (reader, writer, _, running):
        far_reader, far_writer = await serve
        writer.write(b"question")
        writer.write_eof()
        assert await far_reader.read() == b"question"
        far_writer.write(b"long answer")
        assert await reader.readexactly(11) == b"long answer"
        far_writer.close()
        assert await reader.read() == b""
        assert await running == Outcome("closed", 8, 11)


async def test_an_idle_tunnel_ends() -> None:
    async with tunnelled(_upstream(), idle_s=0.1) as (reader, _, _, running):
        assert (await running).ending == "idle"
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_tunnel_that_is_cut() -> None:
    async with tunnelled(_upstream()) as (_, _, tunnel, running):
        tunnel.cut()
        assert await running == Outcome("cut", 0, 0)


async def test_a_tunnel_with_a_limit() -> None:
    async with tunnelled(_upstream(), most=1000) as (_, writer, _, running):
        writer.write(b"x" * 2000)
        outcome = await running
        assert (outcome.ending, outcome.up > 1000) == ("limit", True)


async def test_a_side_that_breaks() -> None:
    serve = _upstream()
    async with tunnelled(serve) as (_, _, _, running):
        _, far_writer = await serve
        Turn(b"", asyncio.StreamReader(), far_writer).reset()
        assert (await running).ending == "reset"


async def test_a_tunnel_is_read_no_faster_than_the_other_side_takes() -> None:
    serve = _upstream()
    async with tunnelled(serve) as (_, writer, _, _):
        far_reader, far_writer = await serve
        transport = cast("asyncio.Transport", far_writer.transport)
        transport.pause_reading()
        wrote = 0
        with contextlib.suppress(TimeoutError):
            while wrote < 256 * 1024 * 1024:
                writer.write(PIECE)
                wrote += len(PIECE)
                await asyncio.wait_for(writer.drain(), 0.3)
        assert wrote < 64 * 1024 * 1024
        transport.resume_reading()
        writer.write_eof()
        got = 0
        while data := await far_reader.read(1024 * 1024):
            got += len(data)
        assert got == wrote
