"""A redirect is an answer and a question: may this next request be made? Nothing here makes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agentos_gateway.address import BadTarget, Target, parse
from agentos_gateway.send.headers import Header, values

REDIRECTS: Final = frozenset([301, 302, 303, 307, 308])

# What may follow to another origin: only what tells of the answer that is wanted. A list of what is secret would miss
# the next service's own key header.
_HARMLESS: Final = frozenset(["accept", "accept-charset", "accept-encoding", "accept-language", "range", "user-agent"])
_OF_THE_BODY: Final = frozenset(["digest", "content-digest", "repr-digest", "last-modified"])
_BODILESS: Final = frozenset(["GET", "HEAD"])
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class BadRedirect(ValueError):
    """A redirect that leads nowhere. Codes: ``no_location``, ``several_locations``, or those of ``BadTarget``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class NextHop:
    """What a client would ask next. It is decided on, resolved and judged like any request.

    Attributes:
        method, headers: as the next request would have them; across origins all but a few headers are gone.
        keeps_body: the body would be sent again.
        same_origin: scheme, host and port are the same.
    """

    target: Target
    method: str
    headers: tuple[Header, ...]
    keeps_body: bool
    same_origin: bool


def next_hop(
    target: Target, method: str, headers: Sequence[Header], status: int, answered: Sequence[Header]
) -> NextHop | None:
    """Where an answer to a request sends the client; None if it is no redirect.

    Raises:
        BadRedirect: it is one, and its Location is missing, repeated, or no URL that is taken.
    """
    if status not in REDIRECTS:
        return None
    locations = values(answered, "location")
    if not locations:
        raise BadRedirect("no_location", "the redirect does not say where")
    if len(locations) > 1:
        raise BadRedirect("several_locations", "the redirect leads to two places")
    try:
        there = parse(_resolved(target, locations[0]))
    except BadTarget as error:
        raise BadRedirect(error.code, f"the redirect is not taken: {error.detail}") from error
    same_origin = there.origin == target.origin
    # RFC 9110, 15.4: 303 always becomes GET; 301 and 302 turn POST into GET, as every browser does.
    becomes_get = (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST")
    kept = tuple((name, value) for name, value in headers if _kept(name.lower(), same_origin, becomes_get))
    return NextHop(
        there, "GET" if becomes_get else method, kept, not becomes_get and method not in _BODILESS, same_origin
    )


def _kept(name: str, same_origin: bool, becomes_get: bool) -> bool:
    if name in ("host", "content-length"):
        return False
    of_body = name.startswith("content-") or name in _OF_THE_BODY
    if of_body:
        return not becomes_get
    return same_origin or name in _HARMLESS


def _resolved(base: Target, location: str) -> str:
    """The absolute URL (RFC 3986, 5.2), without its fragment, which is never sent. :func:`parse` judges the rest."""
    reference = location.partition("#")[0]
    if _ABSOLUTE.match(reference):
        return reference
    if reference.startswith("//"):
        return f"{base.scheme}:{reference}"
    origin = f"{base.scheme}://{base.authority}"
    path, question, query = reference.partition("?")
    if not path:
        return f"{origin}{base.path}{question}{query}" if question else f"{origin}{base.request_target}"
    if not path.startswith("/"):
        path = base.path.rpartition("/")[0] + "/" + path
    return f"{origin}{_without_dots(path)}{question}{query}"


def _without_dots(path: str) -> str:
    """Plain dot segments of a relative reference are its syntax; encoded ones stay, and are refused."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
