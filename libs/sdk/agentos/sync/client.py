"""The client: one object for one API and one caller."""

from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from agentos import settings
from agentos.answers import Answer
from agentos.models import ActorType, Event
from agentos.retry import Retry
from agentos.sync.approvals import Approvals
from agentos.sync.connection import Connection
from agentos.sync.conversation import Messages, Rooms, Threads
from agentos.sync.egress import Egress
from agentos.sync.engines import Engines
from agentos.sync.events import Events
from agentos.sync.incidents import Incidents
from agentos.sync.runs import Runs
from agentos.sync.work import Artifacts, Steps, ToolCalls


class Client:
    """Speaks to one API, in one workspace, as one actor.

    Every write carries an idempotency key, so that it is repeated without harm when the API is busy or away; reads are
    repeated as well. Use it as a context manager, or call :meth:`close`.

    Args:
        url, workspace_id, token, engine_id, engine_token: else ``AGENTOS_URL``, ``AGENTOS_WORKSPACE_ID``,
            ``AGENTOS_TOKEN``, ``AGENTOS_ENGINE_ID``, ``AGENTOS_ENGINE_TOKEN``, else the local stack in open mode.
        actor: (type, id) that events name in open mode: ``("agent", "summariser")``.
        retry: how long to try again.
        timeout_s: how long one try may take.
        transport: instead of the network, for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        workspace_id: str | None = None,
        token: str | None = None,
        actor: tuple[ActorType, str] | None = None,
        engine_id: str | None = None,
        engine_token: str | None = None,
        retry: Retry | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        found = settings.load(url, workspace_id, token, engine_id, engine_token)
        self._connection = Connection(found, actor=actor, retry=retry, timeout_s=timeout_s, transport=transport)
        self.rooms = Rooms(self._connection)
        self.threads = Threads(self._connection)
        self.messages = Messages(self._connection)
        self.runs = Runs(self._connection)
        self.steps = Steps(self._connection)
        self.tool_calls = ToolCalls(self._connection)
        self.artifacts = Artifacts(self._connection)
        self.approvals = Approvals(self._connection)
        self.incidents = Incidents(self._connection)
        self.events = Events(self._connection)
        self.engines = Engines(self._connection)
        self.egress = Egress(self._connection)

    @classmethod
    def of(cls, target: settings.Settings, *, actor: tuple[ActorType, str] | None = None) -> Self:
        """A client from settings that are at hand."""
        return cls(
            target.url,
            workspace_id=target.workspace_id,
            token=target.token,
            actor=actor,
            engine_id=target.engine_id,
            engine_token=target.engine_token,
        )

    @property
    def url(self) -> str:
        """Of the API."""
        return self._connection.settings.url

    @property
    def workspace_id(self) -> str:
        """Of everything that this client reads and writes."""
        return self._connection.settings.workspace_id

    def stream_room(
        self,
        room_id: str,
        *,
        from_seq: int | Literal["latest"] = 0,
        follow: bool = True,
        on_caught_up: Callable[[int], None] | None = None,
    ) -> Generator[Event, None, None]:
        """Events of a room, each once and in order, over any number of reconnects; see ``events.stream_room``."""
        return self.events.stream_room(room_id, from_seq=from_seq, follow=follow, on_caught_up=on_caught_up)

    def bulk(
        self,
        commands: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        atomic: bool = False,
        idempotency_key: str | None = None,
    ) -> Sequence[Mapping[str, Any]]:
        """Up to 500 commands in one request, in order.

        Args:
            commands: (``noun.verb``, body) each; the ids that HTTP has in the path are members of the body.
            atomic: all of them or none, in one room.

        Returns:
            For each its ``status`` and the members of its answer, or of its problem document.
        """
        wishes = [{"type": name, "body": body} for name, body in commands]
        answer = self._connection.post(
            "/v1/commands", {"atomic": atomic or None, "commands": wishes}, idempotency_key=idempotency_key
        )
        return answer.read(list[dict[str, Any]], "results")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """What this package has no method for, with the same retries and errors."""
        if method != "GET":
            return self._connection.post(path, body or {}, idempotency_key=idempotency_key)
        return self._connection.get(path, query)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
