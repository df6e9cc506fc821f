"""Whatever bytes come back, and however they are cut: a bounded answer or a typed failure, always the same."""

import asyncio
import itertools
from dataclasses import dataclass

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentos_gateway.send import Limits, OutboundRequest, SendFailed
from agentos_gateway.send.exchange import Exchange

LINES = st.sampled_from(
    [
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 3, 3\r\n",
        b"content-length:3\r\n",
        b"Content-Length: 03\r\n",
        b"Content-Length : 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"X: y\r\n",
        b"X: y\n",
        b" folded\r\n",
        b"Transfer-Encoding:\tchunked\r\n",
        b"X: \x00\r\n",
        b"\r\n",
        b"\n",
        b"X:\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    ]
)
STATUS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.1 304 No\r\n",
        b"HTTP/1.1 100 Go\r\n",
        b"HTTP/1.1 101 Go\r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/2 200\r\n",
        b"",
    ]
)
BODIES = st.sampled_from(
    [
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;x=y\r\nabc\r\n0\r\nT: x\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        b"abcd",
        b"",
        b"ffffffffffffffffff\r\n",
        b"3\r\nabcX\r\n0\r\n\r\n",
        b"3\r\nabc\r\n00\r\n\r\n",
    ]
)
ANSWERS = st.one_of(
    st.builds(lambda s, lines, body: s + b"".join(lines) + b"\r\n" + body, STATUS, st.lists(LINES, max_size=3), BODIES),
    st.binary(max_size=200),
)
METHODS = st.sampled_from(["GET", "HEAD", "POST"])


@dataclass(frozen=True)
class Read:
    """What was made of the bytes of an answer whose connection then ended."""

    status: int | None
    body: bytes
    failed: bool
    reusable: bool


async def read(data: bytes, cuts: list[int], method: str) -> Read:
    overs: list[Exchange] = []
    request = OutboundRequest(method, limits=Limits(headers=20, head_bytes=500, body_bytes=100))
    exchange = Exchange(request, pause=lambda: None, resume=lambda: None, ended=overs.append)
    exchange.sent = True
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        if not overs:
            exchange.feed(data[start:end])
    exchange.eof()
    assert len(overs) == 1
    status, body, failed = None, b"", False
    try:
        status = exchange.head.result().status
        while (piece := await exchange.take()) is not None:
            body += piece
    except SendFailed:
        failed = True
    return Read(status, body, failed, exchange.reusable and exchange.complete)


@settings(max_examples=250, deadline=None)
@given(ANSWERS, st.lists(st.integers(0, 500), max_size=6), METHODS)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", [0, 1, 2, 3, 30], "GET")
async def test_an_answer_is_the_same_however_it_is_cut(data: bytes, cuts: list[int], method: str) -> None:
    whole = await read(data, [], method)
    cut = await read(data, cuts, method)
    assert (whole.status, whole.failed) == (cut.status, cut.failed)
    if not whole.failed:
        assert whole.body == cut.body


@settings(max_examples=250, deadline=None)
@given(ANSWERS, METHODS)
async def test_what_is_taken_whole_is_what_another_parser_takes(data: bytes, method: str) -> None:
    """h11 is laxer in places, so it is held to what ours accepts, and not the other way round."""
    ours = await read(data, [], method)
    if ours.failed or not ours.reusable:
        return
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    other.send(h11.EndOfMessage())
    other.receive_data(data.lstrip(b"\r\n"))  # empty lines before the status line are allowed, h11 has none of them
    body = b""
    while not isinstance(event := other.next_event(), h11.EndOfMessage):
        assert event not in (h11.NEED_DATA, h11.PAUSED)
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.Response):
            assert event.status_code == ours.status
    assert body == ours.body


@settings(deadline=None)
@given(st.binary(max_size=2000))
async def test_what_follows_a_head_of_good_size_stays_bounded(data: bytes) -> None:
    exchange = Exchange(
        OutboundRequest("GET", limits=Limits(body_bytes=100)),
        pause=lambda: None,
        resume=lambda: None,
        ended=lambda _: None,
    )
    exchange.feed(b"HTTP/1.1 200 OK\r\n\r\n" + data)
    assert exchange.body_bytes <= 100 + len(data)
    assert (exchange.failure is None) == (len(data) <= 100)
    await asyncio.wait_for(asyncio.shield(exchange.head), 1)
