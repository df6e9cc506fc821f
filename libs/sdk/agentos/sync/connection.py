"""One way out: every request goes through here, with its retries, its idempotency key and its errors."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from agentos import errors
from agentos.answers import Answer, clean, headers_of, refusal
from agentos.retry import Retry
from agentos.settings import Settings

CONNECT_S = 5.0


class Connection:
    """Requests to one API, as one caller.

    Args:
        actor: (type, id) that events name in open mode.
        timeout_s: how long one try may take.
        transport: instead of the network, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        actor: tuple[str, str] | None = None,
        retry: Retry | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.actor = actor
        self.retry = retry if retry is not None else Retry()
        self.http = httpx.Client(
            base_url=settings.url,
            headers=headers_of(settings, actor),
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            transport=transport,
            trust_env=False,
        )
        self._timeout_s = timeout_s

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """Read something."""
        return self.request("GET", path, query=query)

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        patience_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Write something, once: the key makes a repeated request the same one.

        Args:
            body: members that are None are left out.
            idempotency_key: a new one where none is given.
            patience_s: instead of the client's own.
        """
        keyed = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        return self.request("POST", path, body=body, headers=keyed, patience_s=patience_s, timeout_s=timeout_s)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Any request. It must bear repetition: a GET, or one with an idempotency key.

        Raises:
            APIError: the API refused. Unreachable: it did not answer.
        """
        retry = self.retry if patience_s is None else Retry(patience_s, self.retry.first_s, self.retry.longest_s)
        pauses = retry.pauses()
        timeout = httpx.Timeout(timeout_s or self._timeout_s, connect=CONNECT_S)
        while True:
            asked_s: float | None = None
            failure: errors.AgentOSError
            try:
                response = self.http.request(
                    method,
                    path,
                    params=clean(query),
                    json=None if body is None else clean(body),
                    headers=headers,
                    timeout=timeout,
                )
            except httpx.TransportError as error:
                failure = errors.Unreachable(self.settings.url, error)
                failure.__cause__ = error
            else:
                if response.is_success:
                    return Answer(response.status_code, response.content, response.headers)
                failure = refused = refusal(response)
                if not refused.transient:
                    raise refused
                asked_s = refused.retry_after_s
            pause_s = pauses.next_s(asked_s)
            if pause_s is None:
                raise failure
            time.sleep(pause_s)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
