"""The web UI: files of the built package, and the one page that every address of a screen answers with.

The build is package data (`agentos_api/ui`, made by `make web` or by the wheel's build). Files under `/assets` carry a
hash in their names and are kept by browsers for good; the page is never kept, so that a new build is seen at once.
Nothing here is secret or depends on who asks: it needs no credential, and the API behind it does.
"""

import mimetypes
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UI: Final = Path(__file__).parents[1] / "ui"
ASSETS: Final = "/assets/"
#: What the page says where the server's nonce belongs.
NONCE_MARK: Final = b"__CSP_NONCE__"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_TEXTS: Final = frozenset({".js", ".css", ".svg"})
_SAFE: Final = (
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
MISSING: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Agent OS</title></head>
<body>
<h1>The web UI is not built</h1>
<p>The API runs; its documentation is at <a href="/docs">/docs</a>. To get the UI, run this in the repository
(it needs Node 20.19 or newer), then reload:</p>
<pre>make web</pre>
<p>A released package brings the UI with it.</p>
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer in full."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def policy(nonce: str) -> str:
    """The content security policy of a page: its own files alone, no inline script, style elements by nonce only."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self' blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


class Pages:
    """What a browser is shown.

    Args:
        root: directory of the build.
        taken: first segments of paths that are not the UI's, whatever they go on with.
    """

    def __init__(self, root: Path, taken: Collection[str]) -> None:
        self._root = root
        self._taken = frozenset(taken)

    def find(self, path: str, headers: Mapping[bytes, bytes]) -> Page | None:
        """The answer to a GET; None: this path is not the UI's.

        Args:
            headers: of the request, by lower-case name.
        """
        if path.startswith(ASSETS):
            return self._asset(path.removeprefix("/"), b"gzip" in headers.get(b"accept-encoding", b""))
        if path != "/" and path.split("/")[1] in self._taken:
            return None
        # Only who navigates asks for HTML: a script that mistypes a path is told so.
        if path == "/" or b"text/html" in headers.get(b"accept", b""):
            return self._index()
        return None

    def _index(self) -> Page:
        try:
            html = (self._root / "index.html").read_bytes()
        except OSError:
            html = MISSING.encode()
        nonce = secrets.token_urlsafe(16)
        html = html.replace(NONCE_MARK, nonce.encode())
        return Page(
            200,
            (
                (b"content-type", b"text/html; charset=utf-8"),
                (b"cache-control", b"no-store"),
                (b"content-security-policy", policy(nonce).encode()),
                (b"content-length", b"%d" % len(html)),
                *_SAFE,
            ),
            html,
        )

    def _asset(self, name: str, gzip: bool) -> Page | None:
        if "\x00" in name:
            return None
        file = (self._root / name).resolve()
        if not file.is_relative_to((self._root / "assets").resolve()) or not file.is_file():
            return None
        headers = [
            (b"content-type", (_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "").encode()),
            (b"cache-control", b"public, max-age=31536000, immutable"),
        ]
        packed = file.with_name(file.name + ".gz")
        if file.suffix in _TEXTS and packed.is_file():
            headers.append((b"vary", b"accept-encoding"))
            if gzip:
                headers.append((b"content-encoding", b"gzip"))
                file = packed
        body = file.read_bytes()
        headers.append((b"content-length", b"%d" % len(body)))
        return Page(200, (*headers, *_SAFE), body)
