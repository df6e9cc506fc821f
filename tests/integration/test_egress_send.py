"""The sender against a server that says anything: framing, bounds, phases, pools, TLS, bodies both ways."""

import asyncio
import contextlib
import gzip
import random
import socket
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest

from agentos_gateway.address import AddressDenied, Guard, Pinned, SystemResolver, parse, parse_opening
from agentos_gateway.send import (
    Bounds,
    Limits,
    Outbound,
    OutboundRequest,
    RequestRefused,
    SendFailed,
    Timeouts,
    client_context,
)
from agentos_gateway.send.headers import Header
from tests.fixtures.raw_http import Play, RawServer, Turn, raw_server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = OutboundRequest("GET")
# Short where a test waits for it, long where a busy machine would make it another failure.
QUICK_HEAD = Timeouts(first_byte_s=0.2)
QUICK_BODY = Timeouts(between_bytes_s=0.2)
WAIT_S = 20


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    sender = Outbound(client_context())
    yield sender
    await sender.close()


async def pinned(server: RawServer, path: str = "") -> Pinned:
    target = parse(server.url + path)
    return await Guard(SystemResolver()).resolve(target, [parse_opening(f"127.0.0.1:{server.port}")])


async def fetch(outbound: Outbound, server: RawServer, request: OutboundRequest = GET) -> tuple[int, bytes]:
    async with asyncio.timeout(WAIT_S), await outbound.open(await pinned(server), request) as response:
        return response.status, b"".join([piece async for piece in response.body])


async def failure(outbound: Outbound, play: Play | bytes, request: OutboundRequest = GET) -> SendFailed:
    """The failure that this answer leads to, be it at its head or in its body."""
    async with raw_server(play) as server:
        with pytest.raises(SendFailed) as caught:
            await fetch(outbound, server, request)
    return caught.value


# Framing of answers.


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nX:   spaced  \r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"ok"),
        (CHUNKED + b"1\r\no\r\n1;a=b\r\nk\r\n0\r\nTrailer: x\r\n\r\n", b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
async def test_answers_that_are_read_and_whose_connection_is_kept(
    outbound: Outbound, answer: bytes, body: bytes
) -> None:
    async with raw_server(answer) as server:
        for _ in range(3):
            assert (await fetch(outbound, server))[1] == body
        assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"ok"),
        (OK + b"junk", b"ok"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison", b""),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    ],
)
async def test_answers_after_which_the_connection_is_not_trusted(
    outbound: Outbound, answer: bytes, body: bytes
) -> None:
    async with raw_server(answer) as server:
        for _ in range(2):
            assert (await fetch(outbound, server))[1] == body
        assert server.connections == 2


async def test_a_body_that_ends_with_its_connection(outbound: Outbound) -> None:
    async def play(turn: Turn) -> None:
        await turn.answer(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        turn.writer.close()

    async with raw_server(play) as server:
        assert await fetch(outbound, server) == (200, b"all of it")


@pytest.mark.parametrize("length", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_a_head_has_no_body(outbound: Outbound, length: bytes) -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n") as server:
        for _ in range(2):
            assert await fetch(outbound, server, OutboundRequest("HEAD")) == (200, b"")


async def test_a_body_after_a_head_poisons_nothing(outbound: Outbound) -> None:
    async with raw_server(OK) as server:
        for _ in range(2):
            assert await fetch(outbound, server, OutboundRequest("HEAD")) == (200, b"")
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ngarbage\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 1000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x00\x05hello",
        CHUNKED + b"2\nok\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nokXX0\r\n\r\n",
        CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"2 \r\nok\r\n0\r\n\r\n",
        CHUNKED + b"10000000000000002\r\nok\r\n0\r\n\r\n",
        CHUNKED + b'2;a="b\r\nok\r\n0\r\n\r\n',
        CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 7\r\n\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
async def test_answers_that_two_readers_could_read_differently(outbound: Outbound, answer: bytes) -> None:
    failed = await failure(outbound, answer)
    assert (failed.code, failed.bytes_sent) == ("protocol_error", True)
    assert outbound.open_connections == 0


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Upgrade: websocket\r\n",
        b"Connection: upgrade\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_switch_to_what_was_not_asked_for(outbound: Outbound, fields: bytes) -> None:
    answer = b"HTTP/1.1 101 Switching\r\n" + fields + b"\r\n"
    failed = await failure(outbound, answer, OutboundRequest("GET", upgrade="websocket"))
    assert (failed.code, failed.bytes_sent) == ("protocol_error", True)
    assert outbound.open_connections == 0


async def test_an_answer_in_single_bytes(outbound: Outbound) -> None:
    async def play(turn: Turn) -> None:
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"3\r\nabc\r\n0\r\nT: x\r\n\r\n":
            await turn.answer(bytes([byte]))

    async with raw_server(play) as server:
        assert await fetch(outbound, server) == (200, b"abc")


# Bounds.


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n", "too_many_headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "headers_too_large"),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 100_000 + b": x\r\n\r\n", "headers_too_large"),
        (b"HTTP/1.1 200 " + b"a" * 100_000, "headers_too_large"),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 1000, "too_many_interim"),
        (CHUNKED + b"1\r\na\r\n0\r\n" + b"T: x\r\n" * 10_000 + b"\r\n", "trailers_too_large"),
        (CHUNKED + b"1\r\na\r\n0\r\nT: " + b"x" * 100_000 + b"\r\n\r\n", "trailers_too_large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"a" * 2000, "response_too_large"),
        (CHUNKED + b"3e9\r\n" + b"a" * 1001 + b"\r\n", "response_too_large"),
    ],
)
async def test_answers_without_measure(outbound: Outbound, answer: bytes, code: str) -> None:
    failed = await failure(outbound, answer, OutboundRequest("GET", limits=Limits(body_bytes=1000)))
    assert (failed.code, failed.bytes_sent) == (code, True)


async def test_chunk_extensions_without_end(outbound: Outbound) -> None:
    async def play(turn: Turn) -> None:
        await turn.answer(CHUNKED)
        while True:
            await turn.answer(b"1;" + b"x" * 60_000 + b"\r\na\r\n")

    assert (await failure(outbound, play)).code == "framing_too_large"


async def test_single_byte_chunks_are_fine(outbound: Outbound) -> None:
    async with raw_server(CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n") as server:
        assert await fetch(outbound, server) == (200, b"a" * 50_000)


async def test_a_field_that_never_ends_in_small_pieces(outbound: Outbound) -> None:
    async def play(turn: Turn) -> None:
        await turn.answer(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await turn.answer(b"a" * 1000)

    assert (await failure(outbound, play)).code == "headers_too_large"


def _coded(coding: str, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(body)) + body
    )


DECODED = OutboundRequest("GET", decode=True)
TEXT = b"some text, " * 10_000
RAW_DEFLATE = zlib.compressobj(9, zlib.DEFLATED, -15)


def as_text(value: str | bytes) -> str:
    """Compressed bytes hold the time, so they name no test: all processes that share the tests find the same ones."""
    return value if isinstance(value, str) else "body"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", RAW_DEFLATE.compress(TEXT) + RAW_DEFLATE.flush()),
        ("br", brotli.compress(TEXT)),
        ("identity", TEXT),
    ],
    ids=as_text,
)
async def test_codings_are_undone_where_that_is_asked_for(outbound: Outbound, coding: str, body: bytes) -> None:
    async with raw_server(_coded(coding, body)) as server:
        assert await fetch(outbound, server, DECODED) == (200, TEXT)
        assert await fetch(outbound, server) == (200, body)
        assert b"Accept-Encoding: gzip, deflate, br" in server.heads[0]
        assert b"Accept-Encoding" not in server.heads[1]


@pytest.mark.parametrize(
    ("coding", "body", "code"),
    [
        ("gzip", gzip.compress(bytes(50_000_000)), "decoded_ratio"),
        ("deflate", zlib.compress(bytes(50_000_000)), "decoded_ratio"),
        ("br", brotli.compress(bytes(50_000_000)), "decoded_ratio"),
        ("gzip", gzip.compress(random.Random(1).randbytes(1_000_000).hex().encode()) * 11, "decoded_too_large"),
        ("gzip", gzip.compress(TEXT)[:-4], "coding_broken"),
        ("gzip", b"no gzip at all", "coding_broken"),
        ("gzip", gzip.compress(TEXT) + b"and more", "coding_broken"),
        ("deflate", zlib.compress(TEXT) + b"and more", "coding_broken"),
        ("deflate", b"\x00", "coding_broken"),
        ("br", brotli.compress(TEXT)[:-4], "coding_broken"),
        ("br", brotli.compress(TEXT) + b"and more", "coding_broken"),
        ("zstd", b"x", "coding_unsupported"),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), "coding_unsupported"),
    ],
    ids=as_text,
)
async def test_codings_that_are_bombs_or_broken(outbound: Outbound, coding: str, body: bytes, code: str) -> None:
    limits = Limits(decoded_bytes=20_000_000)
    failed = await failure(outbound, _coded(coding, body), OutboundRequest("GET", decode=True, limits=limits))
    assert (failed.phase, failed.code, failed.bytes_sent) == ("body", code, True)


# Phases: what failed, and whether a byte left.


@pytest.mark.parametrize(
    ("answer", "phase", "code"),
    [
        (b"", "first_byte", "first_byte_timeout"),
        (b"HTTP/1.1 200 OK\r\n", "first_byte", "first_byte_timeout"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "first_byte", "first_byte_timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "body", "between_bytes_timeout"),
        (CHUNKED + b"5\r\nab", "body", "between_bytes_timeout"),
    ],
)
async def test_a_server_that_stops_speaking(outbound: Outbound, answer: bytes, phase: str, code: str) -> None:
    timeouts = QUICK_HEAD if phase == "first_byte" else QUICK_BODY
    failed = await failure(outbound, answer, OutboundRequest("GET", timeouts=timeouts))
    assert (failed.phase, failed.code, failed.bytes_sent) == (phase, code, True)


async def test_a_server_that_drips_is_left_in_the_end(outbound: Outbound) -> None:
    async def play(turn: Turn) -> None:
        await turn.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        ticks = asyncio.Event()
        while True:
            await turn.answer(b"a")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ticks.wait(), 0.02)

    failed = await failure(outbound, play, OutboundRequest("GET", timeouts=Timeouts(whole_s=1)))
    assert (failed.phase, failed.code) == ("body", "whole_timeout")


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (b"", "first_byte"),
        (b"HTTP/1.1 20", "first_byte"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "body"),
        (CHUNKED + b"2\r\nab\r\n", "body"),
    ],
)
async def test_a_connection_that_ends_early(outbound: Outbound, answer: bytes, phase: str, reset: bool) -> None:
    async def play(turn: Turn) -> None:
        await turn.answer(answer)
        if reset:
            turn.reset()
        else:
            turn.writer.close()

    failed = await failure(outbound, play, OutboundRequest("POST", body=b"x"))
    assert failed.bytes_sent
    # What was sent right before a reset may or may not be delivered.
    assert failed.phase in ((phase, "first_byte") if reset else (phase,))
    assert failed.code == ("connection_reset" if reset else "connection_closed")


async def test_nobody_listens(outbound: Outbound) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = RawServer(taken.getsockname()[1])
        with pytest.raises(SendFailed) as caught:
            await fetch(outbound, server)
    assert (caught.value.phase, caught.value.code) == ("connect", "connect_refused")
    assert not caught.value.bytes_sent


async def test_nobody_takes_the_connection(outbound: Outbound) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # a full queue: further connections wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(SendFailed) as caught:
            await fetch(
                outbound, RawServer(full.getsockname()[1]), OutboundRequest("GET", timeouts=Timeouts(connect_s=0.2))
            )
    assert (caught.value.code, caught.value.bytes_sent) == ("connect_timeout", False)


async def test_too_many_connections() -> None:
    outbound = Outbound(client_context(), bounds=Bounds(open=1))
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") as server:
        first = await outbound.open(await pinned(server), GET)
        with pytest.raises(SendFailed) as caught:
            await fetch(outbound, server)
        assert (caught.value.code, caught.value.bytes_sent) == ("too_many_connections", False)
        await first.aclose()
    await outbound.close()


async def test_a_request_that_is_cut(outbound: Outbound) -> None:
    asked = asyncio.Event()

    async def play(turn: Turn) -> None:
        asked.set()
        await turn.reader.read()

    async with raw_server(play) as server:
        task = asyncio.create_task(fetch(outbound, server))
        await asyncio.wait_for(asked.wait(), WAIT_S)
        assert outbound.cut("another.example") == 0
        assert outbound.cut("127.0.0.1") == 1
        with pytest.raises(SendFailed) as caught:
            await task
    assert (caught.value.code, caught.value.bytes_sent) == ("cut", True)


async def test_a_caller_that_is_cancelled_leaves_no_connection(outbound: Outbound) -> None:
    asked = asyncio.Event()
    gone = asyncio.Event()

    async def play(turn: Turn) -> None:
        asked.set()
        with contextlib.suppress(ConnectionError):
            await turn.reader.read()
        gone.set()

    async with raw_server(play) as server:
        task = asyncio.create_task(fetch(outbound, server))
        await asyncio.wait_for(asked.wait(), WAIT_S)
        task.cancel()
        await asyncio.wait_for(gone.wait(), WAIT_S)
        assert outbound.open_connections == 0


# Requests.


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (OutboundRequest("GET\r\nX: y"), "bad_method"),
        (OutboundRequest("GET /admin HTTP/1.1\r\nX:"), "bad_method"),
        (OutboundRequest("get"), "bad_method"),
        (OutboundRequest(""), "bad_method"),
        (OutboundRequest("CONNECT"), "bad_method"),
        (OutboundRequest("TRACE"), "bad_method"),
        (OutboundRequest("GET", [("X", "a\r\nY: b")]), "bad_header"),
        (OutboundRequest("GET", [("X", "a\nb")]), "bad_header"),
        (OutboundRequest("GET", [("X", "a\rb")]), "bad_header"),
        (OutboundRequest("GET", [("X", "a\x00b")]), "bad_header"),
        (OutboundRequest("GET", [("X", "a\x7fb")]), "bad_header"),
        (OutboundRequest("GET", [("X", " a")]), "bad_header"),
        (OutboundRequest("GET", [("X", "a\r\n")]), "bad_header"),
        (OutboundRequest("GET", [("X", "a\n")]), "bad_header"),
        (OutboundRequest("GET", [("X", "snow \u2603")]), "bad_header"),
        (OutboundRequest("GET", [("X\u010aY", "\u010dz")]), "bad_header"),
        (OutboundRequest("GET", [("X\r\nY", "a")]), "bad_header"),
        (OutboundRequest("GET", [("X\n", "a")]), "bad_header"),
        (OutboundRequest("GET", [("X Y", "a")]), "bad_header"),
        (OutboundRequest("GET", [("X:", "a")]), "bad_header"),
        (OutboundRequest("GET", [("", "a")]), "bad_header"),
        (OutboundRequest("GET", [(" X", "a")]), "bad_header"),
        (OutboundRequest("GET", [("Transfer-Encoding", "chunked")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("transfer-encoding", "identity")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("Connection", "close, authorization")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("Upgrade", "h2c")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("HTTP2-Settings", "x")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("TE", "trailers")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("Trailer", "x")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("Proxy-Authorization", "x")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("Expect", "100-continue")]), "hop_by_hop_header"),
        (OutboundRequest("GET", [("Host", "evil.example")]), "host_mismatch"),
        (OutboundRequest("POST", [("Content-Length", "3")], b"x"), "length_mismatch"),
        (OutboundRequest("POST", [("Content-Length", "1"), ("content-length", "1")], b"x"), "length_mismatch"),
        (OutboundRequest("POST", [("Content-Length", "01")], b"x"), "length_mismatch"),
        (OutboundRequest("POST", content_length=-1, body=None), "length_mismatch"),  # type: ignore[arg-type]
        (OutboundRequest("GET", [("X", "y")] * 10_000), "too_many_headers"),
        (OutboundRequest("GET", [("X", "y" * 70_000)]), "headers_too_large"),
        (OutboundRequest("GET", upgrade="a\r\nb"), "bad_upgrade"),
    ],
)
async def test_requests_that_say_more_than_they_seem_to(
    outbound: Outbound, request_: OutboundRequest, code: str
) -> None:
    async with raw_server(OK) as server:
        with pytest.raises(RequestRefused) as caught:
            await fetch(outbound, server, request_)
        assert caught.value.code == code
        assert (server.connections, server.heads) == (0, [])


async def test_the_head_that_is_sent(outbound: Outbound) -> None:
    async def play(turn: Turn) -> None:
        assert await turn.body() == b"{}"
        await turn.answer(OK)

    async with raw_server(play) as server:
        headers: Sequence[Header] = [
            ("Host", f"127.0.0.1:{server.port}"), ("Content-Type", "application/json"), ("X-Name", "Zoë"),
            ("Content-Length", "2"),
        ]  # fmt: skip
        await fetch(outbound, server, OutboundRequest("POST", headers, b"{}"))
        assert server.heads == [
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nX-Name: Zo\xeb\r\n"
            b"Content-Length: 2\r\n\r\n" % server.port
        ]


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_streamed_request_bodies(outbound: Outbound) -> None:
    seen: list[bytes] = []

    async def play(turn: Turn) -> None:
        if b"chunked" in turn.head:
            seen.append(await turn.reader.readuntil(b"0\r\n\r\n"))
        else:
            seen.append(await turn.body())
        await turn.answer(OK)

    async with raw_server(play) as server:
        await fetch(outbound, server, OutboundRequest("POST", body=_pieces(b"ab", b"", b"cde")))
        await fetch(outbound, server, OutboundRequest("POST", body=_pieces(b"ab", b"cde"), content_length=5))
        await fetch(outbound, server, OutboundRequest("POST", body=b"x" * 1_000_000))
        assert server.connections == 1
    assert seen == [b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", b"abcde", b"x" * 1_000_000]


@pytest.mark.parametrize("pieces", [(b"ab",), (b"abcd", b"ef")])
async def test_a_body_that_is_not_as_long_as_said(outbound: Outbound, pieces: tuple[bytes, ...]) -> None:
    async def play(turn: Turn) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await turn.body()

    failed = await failure(outbound, play, OutboundRequest("POST", body=_pieces(*pieces), content_length=5))
    assert (failed.phase, failed.code, failed.bytes_sent) == ("request", "length_mismatch", True)


async def test_a_body_that_fails_while_it_is_read(outbound: Outbound) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("the disk is gone")

    async def play(turn: Turn) -> None:
        await turn.reader.read()

    failed = await failure(outbound, play, OutboundRequest("POST", body=broken()))
    assert (failed.phase, failed.code, failed.bytes_sent) == ("request", "request_body_failed", True)


async def test_a_server_that_takes_no_body(outbound: Outbound) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 65536
            yield bytes(65536)

    hold = asyncio.Event()

    async def play(turn: Turn) -> None:
        turn.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await hold.wait()

    failed = await failure(outbound, play, OutboundRequest("POST", body=endless(), timeouts=Timeouts(write_s=0.2)))
    assert (failed.phase, failed.code) == ("request", "write_timeout")
    assert given < 16 * 1024 * 1024  # what two kernels hold, not more


async def test_a_reset_while_the_body_is_sent(outbound: Outbound) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async def play(turn: Turn) -> None:
        await turn.reader.readexactly(1000)
        turn.reset()

    failed = await failure(outbound, play, OutboundRequest("POST", body=endless()))
    assert (failed.phase, failed.code, failed.bytes_sent) == ("first_byte", "connection_reset", True)
    assert outbound.open_connections == 0


async def test_an_answer_before_the_whole_body_ends_the_sending(outbound: Outbound) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async def play(turn: Turn) -> None:
        await turn.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        with contextlib.suppress(ConnectionError):
            while await turn.reader.read(65536):
                pass

    async with raw_server(play) as server:
        assert await fetch(outbound, server, OutboundRequest("POST", body=endless())) == (413, b"big")
        assert outbound.idle_connections == 0


# The pool.


async def test_a_kept_connection_that_was_closed_is_replaced_for_safe_requests_only(outbound: Outbound) -> None:
    """The server closes upon the second request of each connection, without an answer."""
    served: dict[int, int] = {}

    async def play(turn: Turn) -> None:
        served[id(turn.writer)] = served.get(id(turn.writer), 0) + 1
        if served[id(turn.writer)] == 2:
            turn.writer.close()
            return
        await turn.body()
        await turn.answer(OK)

    async with raw_server(play) as server:
        for _ in range(3):
            assert (await fetch(outbound, server))[0] == 200
        served.clear()
        await fetch(outbound, server)
        heads = len(server.heads)
        with pytest.raises(SendFailed) as caught:
            await fetch(outbound, server, OutboundRequest("POST", body=b"pay"))
        assert caught.value.bytes_sent
        assert len(server.heads) == heads + 1  # once, not twice


async def test_a_connection_that_dies_between_connect_and_send_is_replaced(outbound: Outbound) -> None:
    async with raw_server(OK) as server:
        request = OutboundRequest("POST", body=b"")
        ready = await outbound.connect(await pinned(server), request)
        ready.link.abort()
        response = await outbound.send(ready, request)
        assert (response.status, server.heads) == (200, server.heads[:1])
        await response.aclose()


async def test_a_request_that_is_stopped_before_it_is_sent_never_is(outbound: Outbound) -> None:
    async with raw_server(OK) as server:
        ready = await outbound.connect(await pinned(server), GET)
        ready.stop()
        with pytest.raises(SendFailed) as caught:
            await outbound.send(ready, GET)
        assert (caught.value.code, caught.value.bytes_sent) == ("cut", False)
        assert server.heads == []


async def test_a_connection_that_is_not_used_is_given_back(outbound: Outbound) -> None:
    async with raw_server(OK) as server:
        ready = await outbound.connect(await pinned(server), GET)
        outbound.give_back(ready)
        assert (outbound.idle_connections, outbound.open_connections) == (1, 1)
        again = await outbound.connect(await pinned(server), GET)
        assert again.reused
        assert again.link is ready.link
        outbound.give_back(again)


async def test_idle_connections_are_bounded_and_end() -> None:
    outbound = Outbound(client_context(), bounds=Bounds(idle_per_origin=2, idle_s=0))
    async with raw_server(OK) as server:
        where = await pinned(server)
        ready = [await outbound.connect(where, GET) for _ in range(4)]
        for one in ready:
            outbound.give_back(one)
        outbound.sweep()
        assert outbound.idle_connections == 0
    await outbound.close()


async def test_a_kept_connection_serves_only_addresses_that_were_judged_for_this_request(outbound: Outbound) -> None:
    async with raw_server(OK) as server:
        await fetch(outbound, server)
        assert outbound.idle_connections == 1
        before = await pinned(server)
        elsewhere = Pinned(before.target, ("127.0.0.3",), opened=True, dns_ms=0)
        with pytest.raises(SendFailed, match="connect_refused"):
            await outbound.open(elsewhere, GET)
        assert outbound.idle_connections == 1


# Names that change their answer.


class Flipping:
    """Says a good address when it is checked, and the canary's ever after."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def addresses(self, host: str) -> Sequence[str]:
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]]


async def test_a_name_that_changes_its_answer_after_the_check_changes_nothing(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(OK, host="127.0.0.2") as good, raw_server(OK, host="127.0.0.3") as canary:
        resolver = Flipping("127.0.0.2", "127.0.0.3")
        guard = Guard(resolver)
        openings = [parse_opening(f"flip.example:{good.port}=127.0.0.2/32")]
        target = parse(f"http://flip.example:{good.port}/")
        where = await guard.resolve(target, openings)

        def looked_up(*_: Any, **__: Any) -> None:
            raise AssertionError("a second lookup")

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        async with await outbound.open(where, GET) as response:
            assert (response.status, response.address) == (200, "127.0.0.2")
        with pytest.raises(AddressDenied):
            await guard.resolve(target, openings)
        assert (good.connections, canary.connections) == (1, 0)


# Streams.


async def test_a_stream_is_read_no_faster_than_it_is_taken(outbound: Outbound) -> None:
    wrote = 0
    full = asyncio.Event()

    async def play(turn: Turn) -> None:
        nonlocal wrote
        await turn.answer(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            turn.writer.write(bytes(65536))
            wrote += 65536
            try:
                await asyncio.wait_for(turn.writer.drain(), 0.3)
            except TimeoutError:
                full.set()
                await turn.writer.drain()

    request = OutboundRequest("GET", limits=Limits(body_bytes=None), timeouts=QUICK_BODY)
    async with raw_server(play) as server, await outbound.open(await pinned(server), request) as response:
        await asyncio.wait_for(full.wait(), WAIT_S)
        assert response.bytes_in < 1024 * 1024
        assert wrote < 32 * 1024 * 1024
        # The time during which nobody takes is not held against the server.
        taken = 0
        async for piece in response.body:
            taken += len(piece)
            if taken >= 1024 * 1024:
                break
        assert taken >= 1024 * 1024


async def test_a_long_answer_is_read_in_part_and_the_rest_is_given_up(outbound: Outbound) -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"a" * 300_000) as server:
        async with await outbound.open(await pinned(server), GET) as response:
            start, whole = await response.body.read(1000)
            assert (len(start), whole) == (1000, False)
            rest = b"".join([piece async for piece in response.body])
            assert len(rest) == 299_000
        assert outbound.idle_connections == 1
        async with await outbound.open(await pinned(server), GET) as response:
            await response.body.read(1000)
        assert await fetch(outbound, server) == (200, b"a" * 300_000)
