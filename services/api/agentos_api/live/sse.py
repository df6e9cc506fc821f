"""``GET /v1/streams/rooms/{room_id}`` and ``GET /v1/streams/workspace``, as bare ASGI: one coroutine per idle client.

Whatever is wrong with a request is raised before the response starts, so that the edge can render it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from agentos_api.http.access import Identity
from agentos_api.http.protocol import ABORT
from agentos_api.live import frames
from agentos_api.live.client import Client
from agentos_api.live.hub import Hub
from agentos_shared.domain.errors import Forbidden, Invalid, NotAcceptable, NotFound, TryLater, Unauthorized
from agentos_shared.host.lifecycle import CLOCK

Recheck: TypeAlias = Callable[[Identity], Awaitable[object]]

#: Seconds between looks at the credentials of whoever follows a stream.
RECHECK_S: Final = 1.0
MAX_SEQ: Final = 2**63 - 1
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
)


class Streams:
    """The two endpoints, in the shape in which the edge calls them.

    Args:
        recheck: whether credentials still count as when the stream began; raises DomainError when not.
    """

    def __init__(self, hub: Hub, recheck: Recheck | None = None) -> None:
        self._hub = hub
        self._recheck = recheck

    async def room(self, scope: Scope, receive: Receive, send: Send, workspace_id: str) -> None:
        """A room's events. The workspace is the room's own; one that the client names must be it.

        Raises:
            NotAcceptable, Invalid, NotFound (``room_not_found``), TryLater.
        """
        headers = _checked(scope)
        cursor = _cursor(scope, headers)
        room_id = scope["path"].rsplit("/", 1)[1]
        head = await self._hub.head(("room", room_id)) if "\x00" not in room_id else None
        named = headers.get(b"x-workspace-id", b"").strip()
        if head is None or (named and head.workspace_id != workspace_id):
            raise NotFound("room_not_found", "There is no such room in this workspace.")
        await self._serve(scope, receive, send, ("room", room_id), cursor, head.seq)

    async def workspace(self, scope: Scope, receive: Receive, send: Send, workspace_id: str) -> None:
        """The workspace's own events: whatever belongs to no room.

        Raises:
            NotAcceptable, Invalid, TryLater.
        """
        headers = _checked(scope)
        cursor = _cursor(scope, headers)
        head = await self._hub.head(("workspace", workspace_id))
        await self._serve(scope, receive, send, ("workspace", workspace_id), cursor, 0 if head is None else head.seq)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, key: tuple[str, str], cursor: int | None, head: int
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        greeting = frames.RETRY
        if cursor is None:
            cursor = head
        elif cursor > head:
            greeting += frames.reset(head)
            cursor = head
        identity = scope.get("state", {}).get("identity")
        proved = identity is not None and (identity.engine is not None or identity.capability is not None)
        watch = partial(_until_refused, self._recheck, identity) if proved and self._recheck is not None else None
        await _until_closed(self._hub, scope, receive, send, key, cursor, greeting, watch)


async def _until_refused(recheck: Recheck, identity: Identity, client: Client) -> None:
    """Send a client away once its credentials do not count any more."""
    while True:
        await CLOCK.sleep(RECHECK_S)
        try:
            await recheck(identity)
        except (Unauthorized, Forbidden):
            client.say_goodbye("revoked")
            return
        except TryLater:
            continue  # what is not known now is asked again; a stream is no reason to break off


async def _until_closed(
    hub: Hub,
    scope: Scope,
    receive: Receive,
    send: Send,
    key: tuple[str, str],
    cursor: int,
    greeting: bytes,
    watch: Callable[[Client], Coroutine[Any, Any, None]] | None = None,
) -> None:
    closed = False
    abort: Callable[[], None] | None = (scope.get("extensions") or {}).get(ABORT)
    task = asyncio.current_task()

    def cut() -> None:
        # Without our server protocol the best there is: end the response unfinished, and let the server close.
        nonlocal closed
        closed = True
        if task is not None:
            task.cancel()

    client = hub.attach(key, send, abort or cut, cursor, greeting)
    watching = None if watch is None else asyncio.create_task(watch(client))
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except asyncio.CancelledError:
        if not closed:
            raise
    finally:
        if watching is not None:
            watching.cancel()
        client.close()


def _checked(scope: Scope) -> Mapping[bytes, bytes]:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    accept = headers.get(b"accept")
    if accept is not None and not any(_accepts_events(part) for part in accept.split(b",")):
        raise NotAcceptable("not_acceptable", "This is an event stream: send Accept: text/event-stream.")
    return headers


def _accepts_events(part: bytes) -> bool:
    media, *parameters = (piece.strip().lower() for piece in part.split(b";"))
    refused = any(parameter.replace(b" ", b"") in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000") for parameter in parameters)
    return media in (b"text/event-stream", b"text/*", b"*/*") and not refused


def _cursor(scope: Scope, headers: Mapping[bytes, bytes]) -> int | None:
    """The sequence after which to begin; None: at the head. ``Last-Event-ID`` wins, since a browser that reconnects
    repeats the URL of its first request."""
    last_event_id = headers.get(b"last-event-id", b"").decode("latin-1").strip()
    if last_event_id:
        return _sequence(last_event_id, "Last-Event-ID")
    query: dict[str, list[Any]] = parse_qs(
        scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100
    )
    given = query.get("from_seq")
    if given is None:
        return 0
    if len(given) > 1:
        raise Invalid("invalid_from_seq", "Send from_seq once.")
    return None if given[0] == "latest" else _sequence(given[0], "from_seq")


def _sequence(text: str, name: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 19:
        number = int(text)
        if number <= MAX_SEQ:
            return number
    raise Invalid("invalid_from_seq", f"{name} must be a whole number from 0 to 2^63 - 1, the stream_seq seen last.")
