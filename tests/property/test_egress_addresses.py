"""No text that parses reaches an address that is not public, unless an opening names it."""

import ipaddress
import socket
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentos_gateway.address import AddressDenied, BadTarget, Guard, Target, classify, parse, parse_opening
from agentos_gateway.address.table import OPENABLE

V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
SPECIAL_V4 = st.sampled_from(["127.0.0.1", "169.254.169.254", "10.1.2.3", "0.0.0.0", "192.168.1.1", "100.64.0.1"]).map(
    ipaddress.IPv4Address
)
ANY_V4 = st.one_of(V4, SPECIAL_V4)
V6 = st.one_of(
    st.integers(0, 2**128 - 1),
    ANY_V4.map(lambda a: int(ipaddress.IPv6Address("::ffff:0:0")) + int(a)),
    ANY_V4.map(lambda a: int(ipaddress.IPv6Address("64:ff9b::")) + int(a)),
    ANY_V4.map(lambda a: int(ipaddress.IPv6Address("2002::")) + (int(a) << 80)),
    ANY_V4.map(int),
).map(ipaddress.IPv6Address)


def _part(number: int) -> st.SearchStrategy[str]:
    return st.sampled_from([str(number), hex(number), f"0{number:o}", f"{number:03d}", hex(number).upper()])


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """An IPv4 address as inet_aton and its friends read it: one to four parts, in any base, with odd digits."""
    number = int(draw(ANY_V4))
    count = draw(st.integers(1, 4))
    parts = [number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255][: count - 1]
    parts.append(number & (1 << 8 * (5 - count)) - 1)
    text = draw(st.sampled_from([".", "。", "．"])).join(draw(_part(part)) for part in parts)
    if draw(st.booleans()):
        text = "".join(draw(st.sampled_from([c, chr(ord(c) + 0xFEE0)])) if c.isdigit() else c for c in text)
    return text + draw(st.sampled_from(["", "", "."]))


HOSTS = st.one_of(
    spellings(),
    V6.map(lambda a: f"[{a}]"),
    st.text("0123456789abcdefx.:[]%@-", max_size=30),
    st.text(max_size=20),
)
URLS = st.builds("{}{}{}{}".format, st.sampled_from(["http://", "https://", "HTTP://"]), HOSTS,
                 st.sampled_from(["", ":80", ":8080", ":"]), st.sampled_from(["", "/", "?x", "/a/b"]))  # fmt: skip


class NoNames:
    """Whoever looks a name up has not pinned anything yet; here every name leads to loopback."""

    async def addresses(self, host: str) -> Sequence[str]:
        return ["127.0.0.1"]


def _parsed(url: str) -> Target | None:
    try:
        return parse(url)
    except BadTarget:
        return None


@settings(max_examples=400, deadline=None)
@given(URLS)
@example("http://2130706433")
@example("http://127.0.0.1。")
async def test_nothing_but_public_addresses_without_an_opening(url: str) -> None:
    target = _parsed(url)
    if target is None:
        return
    guard = Guard(NoNames())
    try:
        pinned = await guard.resolve(target)
    except AddressDenied:
        return
    assert target.is_ip
    for address in pinned.addresses:
        assert classify(address).public
        assert ipaddress.ip_address(address).is_global


@settings(max_examples=200, deadline=None)
@given(URLS)
async def test_an_opening_opens_nothing_but_what_it_names(url: str) -> None:
    target = _parsed(url)
    if target is None:
        return
    openings = [parse_opening("127.0.0.1:8080")]
    try:
        pinned = await Guard(NoNames()).resolve(target, openings)
    except AddressDenied:
        return
    if pinned.opened:
        assert (target.host, target.port) == ("127.0.0.1", 8080)


@settings(max_examples=200, deadline=None)
@given(spellings())
def test_a_host_that_the_system_reads_as_an_address_is_one_or_is_refused(host: str) -> None:
    """What inet_aton takes for an address, the parser takes for the same address, or refuses."""
    target = _parsed(f"http://{host}/")
    if target is None:
        return
    try:
        read = socket.inet_aton(host)
    except (OSError, UnicodeError):
        assert not target.is_ip
        return
    assert target.is_ip
    assert socket.inet_ntoa(read) == target.host


@settings(max_examples=200, deadline=None)
@given(st.one_of(URLS, st.text(max_size=40).map(lambda t: f"http://example.com/{t}")))
def test_what_parses_parses_to_itself(url: str) -> None:
    target = _parsed(url)
    if target is None:
        return
    assert parse(target.url) == target
    assert target.url.isascii()
    assert not set(target.url) & set(" \r\n\t\x00\\#")


@settings(max_examples=400, deadline=None)
@given(st.one_of(ANY_V4, V6))
def test_what_is_called_public_is_global_to_the_standard_library_too(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    found = classify(str(address))
    if found.public:
        assert address.is_global
        assert not any((address.is_private, address.is_multicast, address.is_reserved))
    if found.kind in OPENABLE:
        assert not address.is_global


@settings(deadline=None)
@given(ANY_V4)
async def test_a_translated_address_is_never_allowed(address: ipaddress.IPv4Address) -> None:
    for form in (f"[::ffff:{address}]", f"[64:ff9b::{address}]", f"[::{address}]", f"[::ffff:0:{address}]"):
        with pytest.raises(AddressDenied):
            await Guard(NoNames()).resolve(parse(f"http://{form}/"), [parse_opening("127.0.0.1:80")])
