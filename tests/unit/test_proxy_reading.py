"""What clients of the proxy send: heads, credentials and bodies, read strictly."""

import asyncio
import base64

import pytest

from agentos_gateway.proxy.bodies import BodyBroken, ClientBody
from agentos_gateway.proxy.callers import BadCredentials, Named, named
from agentos_gateway.proxy.head import BadHead, parse_head


def basic(text: str) -> tuple[tuple[str, str], ...]:
    return (("Proxy-Authorization", "Basic " + base64.b64encode(text.encode()).decode()),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run:run_1", Named(run_id="run_1")),
        ("run:run_1:tok", Named(run_id="run_1", token="tok")),
        ("token:tok", Named(token="tok")),
        ("agt_1:", Named(agent="agt_1")),
        ("agt_1:tok", Named(agent="agt_1", token="tok")),
        ("ws_a+run:run_1", Named("ws_a", run_id="run_1")),
        ("ws_a+:", Named("ws_a")),
        (":", Named()),
    ],
)
def test_credentials_name_a_caller(text: str, expected: Named) -> None:
    assert named(basic(text)) == expected


def test_without_credentials_nobody_is_named() -> None:
    assert named(()) == Named()


@pytest.mark.parametrize(
    "headers",
    [
        basic("run:"),
        basic("a b:"),
        basic("ws a+x:"),
        basic("x:") * 2,
        (("Proxy-Authorization", "Basic ###"),),
        (("Proxy-Authorization", "Bearer tok"),),
        (("Proxy-Authorization", "Basic"), ("Proxy-Authorization", "Basic")),
    ],
)
def test_other_credentials_are_none(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(BadCredentials) as told:
        named(headers)
    assert "tok" not in str(told.value).replace("token", "")


def test_a_head_is_read() -> None:
    head = parse_head(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
    assert (head.method, head.target, head.framing, head.persistent, head.expects) == (
        "POST",
        "http://a/",
        3,
        True,
        True,
    )
    old = parse_head(b"GET http://a/ HTTP/1.0\r\n\r\n")
    assert (old.framing, old.persistent, old.old) == (None, False, True)
    closing = parse_head(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: Close\r\n\r\n")
    assert not closing.persistent


@pytest.mark.parametrize(
    "lines",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a",
        b"get / HTTP/1.1\r\nHost: a",
        b"GET /\x80 HTTP/1.1\r\nHost: a",
        b"\r\nGET / HTTP/1.1",
    ],
)
def test_a_head_that_is_none(lines: bytes) -> None:
    with pytest.raises(BadHead):
        parse_head(lines + b"\r\n\r\n")


async def read(raw: bytes, framing: int | str) -> bytes:
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    body = ClientBody(reader, "chunked" if framing == "chunked" else int(framing), None)
    whole = await body.whole()
    assert body.complete
    assert body.size == len(whole)
    return whole


@pytest.mark.parametrize(
    ("raw", "framing", "expected"),
    [
        (b"abcdef", 3, b"abc"),
        (b"", 0, b""),
        (b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nrest", "chunked", b"abcde"),
        (b"0\r\nA: b\r\n\r\n", "chunked", b""),
    ],
)
async def test_bodies(raw: bytes, framing: int | str, expected: bytes) -> None:
    assert await read(raw, framing) == expected


@pytest.mark.parametrize(
    ("raw", "framing"),
    [
        (b"ab", 3),
        (b"3\r\nab", "chunked"),
        (b"3\r\nabcd\r\n0\r\n\r\n", "chunked"),
        (b"0x3\r\nabc\r\n0\r\n\r\n", "chunked"),
        (b"-1\r\n\r\n", "chunked"),
        (b"\r\n", "chunked"),
        (b"3\nabc\r\n0\r\n\r\n", "chunked"),
        (b"3\r\nabc\r\n", "chunked"),
        (b"0\r\n" + b"a: b\r\n" * 100 + b"\r\n", "chunked"),
        (b"1;" + b"x" * 2000 + b"\r\na\r\n0\r\n\r\n", "chunked"),
    ],
)
async def test_bodies_that_break_off(raw: bytes, framing: int | str) -> None:
    with pytest.raises(BodyBroken):
        await read(raw, framing)
