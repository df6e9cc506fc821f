"""What a browser is shown: which paths are the UI's, how long answers are kept, what the page may load."""

import gzip
import re
from pathlib import Path

import pytest

from agentos_api.http.pages import Page, Pages

BROWSER = {b"accept": b"text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    root = tmp_path / "ui"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text('<meta name="csp-nonce" nonce="__CSP_NONCE__">')
    (root / "assets" / "app-1a2b.js").write_text("app()")
    (root / "assets" / "app-1a2b.js.gz").write_bytes(gzip.compress(b"app()"))
    (tmp_path / "secret.txt").write_text("secret")
    return Pages(root, {"v1", "docs", "healthz"})


def header(page: Page | None, name: str) -> str:
    assert page is not None
    return dict(page.headers)[name.encode()].decode()


@pytest.mark.parametrize("path", ["/", "/timeline", "/rooms/room_1", "/v1x"])
def test_an_address_of_a_screen_shows_the_page_and_is_not_kept(pages: Pages, path: str) -> None:
    page = pages.find(path, BROWSER)
    assert page is not None
    assert page.status == 200
    assert header(page, "cache-control") == "no-store"
    assert header(page, "content-type").startswith("text/html")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nonsense", "/docs", "/docs/oauth2-redirect", "/healthz"])
def test_paths_of_the_api_stay_its_own(pages: Pages, path: str) -> None:
    assert pages.find(path, BROWSER) is None


def test_only_who_navigates_gets_the_page_for_any_path(pages: Pages) -> None:
    assert pages.find("/timelin", {b"accept": b"*/*"}) is None
    assert pages.find("/timelin", {}) is None
    assert pages.find("/", {}) is not None


def test_the_page_runs_its_own_scripts_alone_and_each_answer_has_its_own_nonce(pages: Pages) -> None:
    first, second = pages.find("/", BROWSER), pages.find("/", BROWSER)
    assert first is not None
    assert second is not None
    told = re.search(r"'nonce-([\w-]{20,})'", header(first, "content-security-policy"))
    assert told is not None
    assert first.body == f'<meta name="csp-nonce" nonce="{told[1]}">'.encode()
    assert first.body != second.body
    script = re.search(r"script-src ([^;]+);", header(first, "content-security-policy"))
    assert script is not None
    assert script[1] == "'self'"
    assert "unsafe" not in header(first, "content-security-policy")


def test_assets_are_kept_for_good_and_go_packed_to_who_can_unpack(pages: Pages) -> None:
    plain = pages.find("/assets/app-1a2b.js", {})
    packed = pages.find("/assets/app-1a2b.js", {b"accept-encoding": b"gzip, br"})
    assert plain is not None
    assert packed is not None
    assert plain.body == gzip.decompress(packed.body) == b"app()"
    assert header(plain, "cache-control") == "public, max-age=31536000, immutable"
    assert header(plain, "content-type") == "text/javascript"
    assert header(packed, "content-encoding") == "gzip"
    assert header(packed, "content-length") == str(len(packed.body))


@pytest.mark.parametrize("name", ["none.js", "../index.html", "../../secret.txt", "", ".", "\x00", "%2e%2e/index.html"])
def test_an_asset_that_is_none_is_left_to_the_api(pages: Pages, name: str) -> None:
    assert pages.find(f"/assets/{name}", BROWSER) is None


def test_without_a_build_the_page_names_the_command(tmp_path: Path) -> None:
    page = Pages(tmp_path / "none", ()).find("/", BROWSER)
    assert page is not None
    assert page.status == 200
    assert b"make web" in page.body
