"""The parser of URLs, the tables of addresses, openings and the guard, against hostile forms."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from agentos_gateway.address import (
    AddressDenied,
    BadOpening,
    BadTarget,
    Guard,
    RememberingResolver,
    ResolveFailed,
    SystemResolver,
    classify,
    parse,
    parse_authority,
    parse_opening,
)
from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.hostile_urls import DENIED, REFUSED, TAKEN


class Answers:
    """A resolver with answers of the test's own, the last of them for ever; it counts how often it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def addresses(self, host: str) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_enough_hostile_forms() -> None:
    assert len({url for url, _ in REFUSED + DENIED}) >= 150


@pytest.mark.parametrize(("url", "code"), REFUSED)
def test_the_parser_refuses(url: str, code: str) -> None:
    with pytest.raises(BadTarget) as caught:
        parse(url)
    assert caught.value.code == code


@pytest.mark.parametrize(("url", "host", "port", "request_target"), TAKEN)
def test_the_parser_takes(url: str, host: str, port: int, request_target: str) -> None:
    target = parse(url)
    assert (target.host, target.port, target.request_target) == (host, port, request_target)
    assert parse(target.url) == target


@pytest.mark.parametrize(("url", "kind"), DENIED)
async def test_the_guard_denies(url: str, kind: str) -> None:
    resolver = SystemResolver()
    with pytest.raises(AddressDenied) as caught:
        await Guard(resolver).resolve(parse(url))
    resolver.close()
    assert (caught.value.kind, caught.value.code) == (kind, "egress.ip_denied")


@pytest.mark.parametrize("url", [url for url, *_ in TAKEN if parse(url).is_ip])
async def test_the_guard_allows_public_addresses(url: str) -> None:
    target = parse(url)
    assert (await Guard(Answers([])).resolve(target)).addresses == (target.host,)


def test_the_message_does_not_repeat_the_url() -> None:
    with pytest.raises(BadTarget) as caught:
        parse("https://token-abc@example.com/")
    assert "token-abc" not in str(caught.value)


def test_the_parts_of_a_target() -> None:
    target = parse("https://[2606:4700::1]:8443/a?b")
    assert target.authority == "[2606:4700::1]:8443"
    assert target.origin == "https://[2606:4700::1]:8443"
    assert parse("https://example.com/").authority == "example.com"
    assert parse("https://example.com/").origin == "https://example.com:443"


@pytest.mark.parametrize(
    ("authority", "code"),
    [
        ("example.com", "bad_port"),
        ("example.com:", "bad_port"),
        ("example.com:443/", "bad_host"),
        ("example.com:443?x", "bad_host"),
        ("user@example.com:443", "userinfo"),
        ("http://example.com:443", "bad_host"),
        ("0x7f.1:443", "numeric_host"),
        ("[::1%1]:443", "zone_id"),
        ("::1:443", "bad_host"),
        ("", "no_host"),
        (":443", "no_host"),
        ("example.com:25", "port_refused"),
        ("a" * 300 + ":443", "too_long"),
    ],
)
def test_connect_targets_that_are_refused(authority: str, code: str) -> None:
    with pytest.raises(BadTarget) as caught:
        parse_authority(authority)
    assert caught.value.code == code


def test_connect_targets() -> None:
    assert parse_authority("Example.com:443").origin == "https://example.com:443"
    assert parse_authority("[2606:4700::1]:8443").host == "2606:4700::1"


@pytest.mark.parametrize(
    ("address", "kind", "carried"),
    [
        ("::ffff:169.254.169.254", "mapped", "metadata"),
        ("64:ff9b::10.0.0.1", "nat64", "private"),
        ("64:ff9b::8.8.8.8", "nat64", "public"),
        ("2002:7f00:1::", "6to4", "loopback"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "teredo", "documentation"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "teredo", "loopback"),
        ("2a00::5efe:10.0.0.1", "isatap", "private"),
        ("2606:4700:4700::1111", "public", None),
        ("1.1.1.1", "public", None),
        ("172.15.255.255", "public", None),
        ("172.32.0.0", "public", None),
        ("100.63.255.255", "public", None),
        ("100.128.0.0", "public", None),
        ("9.255.255.255", "public", None),
        ("11.0.0.0", "public", None),
        ("223.255.255.255", "public", None),
        ("2001:200::1", "public", None),
        ("2003::1", "public", None),
    ],
)
def test_what_an_address_is_and_carries(address: str, kind: str, carried: str | None) -> None:
    found = classify(address)
    assert (found.kind, found.carried) == (kind, carried)


async def test_one_private_address_among_public_ones_denies_the_name() -> None:
    target = parse("https://mixed.example/")
    with pytest.raises(AddressDenied) as caught:
        await Guard(Answers(["1.2.3.4", "10.0.0.1"])).resolve(target)
    assert caught.value.address == "10.0.0.1"
    assert (await Guard(Answers(["1.2.3.4", "2606:4700::1"])).resolve(target)).addresses == ("1.2.3.4", "2606:4700::1")


@pytest.mark.parametrize("answer", ["fe80::1%2", "not an address", "127.1", ""])
async def test_answers_that_are_no_addresses_deny(answer: str) -> None:
    with pytest.raises(AddressDenied):
        await Guard(Answers([answer])).resolve(parse("https://odd.example/"))


async def test_no_address_and_too_many() -> None:
    target = parse("https://odd.example/")
    with pytest.raises(ResolveFailed, match="dns_not_found"):
        await Guard(Answers([])).resolve(target)
    with pytest.raises(ResolveFailed, match="dns_too_many"):
        await Guard(Answers([f"1.2.3.{n}" for n in range(100)])).resolve(target)


async def test_a_resolver_that_never_answers_is_left_in_time() -> None:
    class Never:
        async def addresses(self, host: str) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(ResolveFailed, match="dns_timeout"):
        await Guard(Never(), timeout_s=0.01).resolve(parse("https://slow.example/"))


async def test_networks_that_are_closed_beside_the_tables() -> None:
    guard = Guard(Answers(["1.2.3.4"]), closed=[ip_network("1.2.3.0/24")])
    with pytest.raises(AddressDenied):
        await guard.resolve(parse("https://own.example/"))
    assert (await guard.resolve(parse("http://1.2.4.4/"))).addresses == ("1.2.4.4",)


async def test_nat64_leads_to_public_addresses_where_the_network_is_like_that() -> None:
    guard = Guard(Answers(["64:ff9b::1.2.3.4"]), nat64=True)
    assert (await guard.resolve(parse("https://v4only.example/"))).addresses == ("64:ff9b::102:304",)
    for inner in ("10.0.0.1", "169.254.169.254", "127.0.0.1"):
        with pytest.raises(AddressDenied):
            await Guard(Answers([f"64:ff9b::{inner}"]), nat64=True).resolve(parse("https://v4only.example/"))


async def test_an_opening_opens_its_host_and_port_alone() -> None:
    guard = Guard(SystemResolver())
    opened = await guard.resolve(parse("http://127.0.0.1:8080/x"), [parse_opening("127.0.0.1:8080")])
    assert (opened.addresses, opened.opened) == (("127.0.0.1",), True)
    for url in ("http://127.0.0.1:8081/", "http://127.0.0.2:8080/", "http://localhost:8080/", "http://[::1]:8080/"):
        with pytest.raises(AddressDenied):
            await guard.resolve(parse(url), [parse_opening("127.0.0.1:8080")])
    assert (await guard.resolve(parse("http://localhost:8080/"), [parse_opening("localhost:8080")])).opened


async def test_a_foreign_name_gains_nothing_from_an_opening() -> None:
    guard = Guard(Answers(["127.0.0.1"]))
    with pytest.raises(AddressDenied):
        await guard.resolve(parse("http://evil.example:8080/"), [parse_opening("127.0.0.1:8080")])


async def test_a_name_is_opened_for_its_networks_alone() -> None:
    openings = [parse_opening("git.corp:443=10.0.0.0/8,fd12::/16")]
    target = parse("https://git.corp/")
    for address in ("10.1.2.3", "fd12::1"):
        assert (await Guard(Answers([address])).resolve(target, openings)).addresses == (address,)
    for address in ("127.0.0.1", "192.168.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00:ec2::254"):
        with pytest.raises(AddressDenied):
            await Guard(Answers(["10.1.2.3", address])).resolve(target, openings)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        "http://127.0.0.1:80",
        "git.corp:443",
        "git.corp:443=",
        "git.corp:443=0.0.0.0/0",
        "git.corp:443=8.8.8.8",
        "git.corp:443=10.0.0.0/7",
        "git.corp:443=169.254.0.0/16",
        "git.corp:443=::/0",
        "169.254.169.254:80",
        "224.0.0.1:80",
        "0.0.0.0:80",
        "[::ffff:127.0.0.1]:80",
        "*:80",
    ],
)
def test_openings_that_are_refused(text: str) -> None:
    with pytest.raises(BadOpening):
        parse_opening(text)


async def test_answers_are_remembered_and_asked_once() -> None:
    inner = Answers(["1.2.3.4"], ["10.0.0.1"])
    remembering = RememberingResolver(inner, CLOCK, keep_s=60)
    found = await asyncio.gather(*(remembering.addresses("a.example") for _ in range(10)))
    assert {tuple(answer) for answer in found} == {("1.2.3.4",)}
    assert inner.asked == 1
    forgetting = RememberingResolver(inner, CLOCK, keep_s=0)
    assert [tuple(await forgetting.addresses("a.example")) for _ in range(2)] == [("10.0.0.1",)] * 2


async def test_failures_are_not_remembered() -> None:
    class Failing:
        asked = 0

        async def addresses(self, host: str) -> Sequence[str]:
            self.asked += 1
            raise ResolveFailed("dns_failed", "no")

    failing = Failing()
    remembering = RememberingResolver(failing, CLOCK)
    for _ in range(2):
        with pytest.raises(ResolveFailed):
            await remembering.addresses("a.example")
    assert failing.asked == 2
