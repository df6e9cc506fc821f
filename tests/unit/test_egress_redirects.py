"""Where a redirect leads is a new question: parsed strictly, judged anew, without what belongs to another origin."""

from collections.abc import Sequence

import pytest

from agentos_gateway.address import AddressDenied, Guard, parse
from agentos_gateway.requests.outcome import redirect_told
from agentos_gateway.send.headers import BadFraming, Header, body_framing, end_to_end
from agentos_gateway.send.redirects import BadRedirect, next_hop
from tests.fixtures.hostile_urls import DENIED, REFUSED

STATUSES = (301, 302, 303, 307, 308)
BASE = parse("https://api.example.com/v1/items?page=2")


class Public:
    async def addresses(self, host: str) -> Sequence[str]:
        return ["127.0.0.1"] if host.endswith("localhost") else ["1.2.3.4"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("url", [url for url, _ in DENIED])
async def test_redirects_into_private_ranges_are_denied(status: int, url: str) -> None:
    hop = next_hop(BASE, "GET", (), status, [("Location", url)])
    assert hop is not None
    with pytest.raises(AddressDenied):
        await Guard(Public()).resolve(hop.target)


# Without these a relative reference or a fragment is meant, which a redirect may have.
RELATIVE = ("", "example.com", "//example.com/", "/etc/passwd", "http//example.com")


@pytest.mark.parametrize(
    "url", [url for url, code in REFUSED if code != "fragment" and url not in RELATIVE and "#" not in url]
)
def test_redirects_to_hostile_forms_are_refused(url: str) -> None:
    with pytest.raises(BadRedirect):
        next_hop(BASE, "GET", (), 302, [("Location", url)])


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://other.example/x", "https://other.example/x"),
        ("HTTP://Other.example", "http://other.example/"),
        ("//other.example/x", "https://other.example/x"),
        ("/x?y", "https://api.example.com/x?y"),
        ("x", "https://api.example.com/v1/x"),
        ("./x", "https://api.example.com/v1/x"),
        ("../x", "https://api.example.com/x"),
        ("../../../x", "https://api.example.com/x"),
        ("..", "https://api.example.com/"),
        ("x/./y/../z", "https://api.example.com/v1/x/z"),
        ("?page=3", "https://api.example.com/v1/items?page=3"),
        ("", "https://api.example.com/v1/items?page=2"),
        ("#top", "https://api.example.com/v1/items?page=2"),
        ("/x#top", "https://api.example.com/x"),
        ("/a/b;c=d", "https://api.example.com/a/b;c=d"),
    ],
)
def test_where_a_redirect_leads(location: str, url: str) -> None:
    hop = next_hop(BASE, "GET", (), 302, [("location", location)])
    assert hop is not None
    assert hop.target.url == url


@pytest.mark.parametrize(
    ("status", "method", "becomes", "keeps"),
    [
        (301, "GET", "GET", False),
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (301, "PUT", "PUT", True),
        (302, "DELETE", "DELETE", True),
        (303, "POST", "GET", False),
        (303, "PUT", "GET", False),
        (303, "HEAD", "HEAD", False),
        (307, "POST", "POST", True),
        (308, "POST", "POST", True),
        (308, "GET", "GET", False),
    ],
)
def test_method_and_body(status: int, method: str, becomes: str, keeps: bool) -> None:
    hop = next_hop(BASE, method, [("Content-Type", "text/plain")], status, [("Location", "/x")])
    assert hop is not None
    assert (hop.method, hop.keeps_body) == (becomes, keeps)
    if becomes != method:
        assert hop.headers == ()


HEADERS: list[Header] = [
    ("Authorization", "Bearer x"),
    ("Cookie", "a=b"),
    ("X-Api-Key", "secret"),
    ("PRIVATE-TOKEN", "secret"),
    ("Accept", "*/*"),
    ("User-Agent", "agent"),
    ("Host", "api.example.com"),
    ("Content-Length", "3"),
]


@pytest.mark.parametrize(
    ("location", "same"),
    [
        ("/x", True),
        ("https://API.example.com:443/x", True),
        ("http://api.example.com/x", False),
        ("https://api.example.com:8443/x", False),
        ("https://example.com/x", False),
        ("https://evil.example/x", False),
    ],
)
def test_credentials_stay_within_their_origin(location: str, same: bool) -> None:
    hop = next_hop(BASE, "GET", HEADERS, 307, [("Location", location)])
    assert hop is not None
    assert hop.same_origin is same
    names = [name for name, _ in hop.headers]
    harmless = ["Accept", "User-Agent"]
    assert names == (["Authorization", "Cookie", "X-Api-Key", "PRIVATE-TOKEN", *harmless] if same else harmless)


@pytest.mark.parametrize("status", [200, 300, 304, 305, 306, 404, 500])
def test_other_answers_lead_nowhere(status: int) -> None:
    assert next_hop(BASE, "GET", (), status, [("Location", "/x")]) is None


@pytest.mark.parametrize(
    ("answered", "code"),
    [([], "no_location"), ([("Location", "/a"), ("location", "/b")], "several_locations")],
)
def test_redirects_that_do_not_say_where(answered: list[Header], code: str) -> None:
    with pytest.raises(BadRedirect) as caught:
        next_hop(BASE, "GET", (), 302, answered)
    assert caught.value.code == code


def test_what_belongs_to_one_hop_ends_there() -> None:
    headers = [
        ("Connection", "keep-alive, X-Secret"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("Expect", "100-continue"),
        ("x-secret", "1"),
        ("Accept", "*/*"),
    ]
    assert end_to_end(headers) == [("Accept", "*/*")]


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "1"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "1"), ("content-length", "1")],
        [("Content-Length", "1, 1")],
        [("Content-Length", "")],
        [("Content-Length", "+1")],
        [("Content-Length", "1_0")],
        [("Content-Length", "١")],
        [("Content-Length", "1" * 19)],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "chunked ")],
        [("Transfer-Encoding", "\x0bchunked")],
        [("Transfer-Encoding", "")],
        [("Content-Length ", "1")],
    ],
)
def test_lengths_that_are_not_certain(headers: list[Header]) -> None:
    with pytest.raises(BadFraming):
        body_framing(headers)


def test_lengths() -> None:
    assert body_framing([]) is None
    assert body_framing([("CONTENT-LENGTH", "0")]) == 0
    assert body_framing([("transfer-encoding", "Chunked")]) == "chunked"
    with pytest.raises(BadFraming):
        body_framing([("transfer-encoding", "chunked")], http_1_0=True)


def test_what_is_told_of_a_redirect() -> None:
    told = redirect_told(BASE, "POST", HEADERS, 307, [("Location", "https://other.example/x")])
    assert told == {
        "redirect": {
            "url": "https://other.example/x",
            "method": "POST",
            "headers": ["accept", "user-agent"],
            "keeps_body": True,
            "same_origin": False,
        }
    }
    assert redirect_told(BASE, "GET", HEADERS, 200, []) == {}
    refused = redirect_told(BASE, "GET", HEADERS, 302, [("Location", "http://0x7f.1/")])["redirect"]
    assert refused["error_code"] == "numeric_host"
    assert "0x7f" not in refused["detail"]
