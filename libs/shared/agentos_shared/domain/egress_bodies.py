"""What the commands of requests that leave the machine take."""

import base64
import binascii
import hashlib
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentos_shared.domain.actions import ActionName
from agentos_shared.domain.decider import CommandBody
from agentos_shared.domain.envelope import Zone
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.policy.evaluate import EXTERNAL_WRITE

Id = Annotated[str, Field(min_length=1, max_length=64)]
Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
#: Sending one of these twice does no more than sending it once (RFC 9110, section 9.2.2).
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
MAX_BODY_BYTES: Final = 512 * 1024
MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 16 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: Told by the gateway itself, or about the connection and not the request.
_OWN: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Limits(BaseModel):
    """What one request may take. ``timeout_s`` is for all of it; of the answer's body the gateway keeps so much."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    timeout_s: float = Field(30, ge=0.1, le=120)
    max_response_bytes: int = Field(8 * 1024 * 1024, ge=0, le=64 * 1024 * 1024)


class RequestEgress(CommandBody):
    """Asks for a request to the world outside. ``target_url`` (http or https) is required; without ``method`` it is a
    GET, or with a body a POST. What is allowed is sent, once, and ``outcome`` tells what came of it; ``wait_s`` waits
    so long for an approval that it needs. Who repeats it with the same ``Idempotency-Key`` gets the same request: what
    was sent is not sent again. The body is text (``body``) or any bytes (``body_base64``). ``{{secret:name}}`` in a
    header stands for a secret, which the gateway puts in.
    """

    target_url: str | None = Field(None, max_length=8192)
    action: ActionName = EXTERNAL_WRITE
    method: Method | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    body_base64: str | None = None
    limits: Limits = Limits()
    wait_s: float = Field(0, ge=0, le=30)
    room_id: Id | None = None
    run_id: Id | None = None
    step_id: Id | None = None
    context: dict[str, Any] = Field(default_factory=dict)
    principal_id: Id | None = None
    capability_token_id: Id | None = None
    zone: Zone | None = None

    @property
    def verb(self) -> str:
        """The method, also where none was named."""
        return self.method or ("GET" if self.body is None and self.body_base64 is None else "POST")

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does no more than sending it once, as far as one can tell."""
        return self.verb in IDEMPOTENT or any(name.lower() == "idempotency-key" for name in self.headers)

    def content(self) -> bytes:
        """The body's bytes. Raises Invalid: ``invalid_request_body``."""
        if self.body is not None and self.body_base64 is not None:
            raise Invalid("invalid_request_body", "Give body or body_base64, not both.")
        try:
            raw = base64.b64decode(self.body_base64 or "", validate=True) if self.body is None else self.body.encode()
        except (binascii.Error, ValueError):
            raise Invalid("invalid_request_body", "body_base64 is no base64.") from None
        if len(raw) > MAX_BODY_BYTES:
            raise Invalid("invalid_request_body", f"A body has at most {MAX_BODY_BYTES} bytes.")
        return raw

    @property
    def size(self) -> int | None:
        """Bytes of the body; None: not known yet. Raises as :meth:`content`."""
        return len(self.content())

    @property
    def body_sha256(self) -> str | None:
        """Hash of the body in hexadecimal; None: not known yet. Raises as :meth:`content`."""
        return hashlib.sha256(self.content()).hexdigest()

    def checked_headers(self) -> dict[str, str]:
        """The headers. Raises Invalid: ``invalid_header``."""
        if len(self.headers) > MAX_HEADERS:
            raise Invalid("invalid_header", f"A request has at most {MAX_HEADERS} headers.")
        if sum(len(name) + len(value) for name, value in self.headers.items()) > MAX_HEADER_BYTES:
            raise Invalid("invalid_header", f"Headers have at most {MAX_HEADER_BYTES} bytes.")
        if len({name.lower() for name in self.headers}) < len(self.headers):
            raise Invalid("invalid_header", "A header is named twice.")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise Invalid("invalid_header", f"The header {name[:100]!r} has characters that headers cannot have.")
            if name.lower() in _OWN:
                raise Invalid("invalid_header", f"The gateway itself says {name}; leave it out.")
        return self.headers


class RequestProxied(RequestEgress):
    """A request that came through the forward proxy. ``target_url`` is ``host:port`` where ``proxied_method`` is
    CONNECT. Of headers there are names alone; of a body that is still coming there is nothing.
    """

    proxied_method: str = Field(pattern="^[A-Z][A-Z0-9_-]{0,31}$")
    given_size: int | None = None
    given_sha256: str | None = None

    @property
    def verb(self) -> str:
        return self.proxied_method

    @property
    def size(self) -> int | None:
        return self.given_size

    @property
    def body_sha256(self) -> str | None:
        return self.given_sha256


class SendEgress(CommandBody):
    """The gateway is about to send a request. ``sender`` names this one attempt; ``again`` allows another one after an
    outcome that is not known.
    """

    sender: str
    addresses: list[str] = Field(default_factory=list)
    again: bool = False


class RefuseEgress(CommandBody):
    """The gateway itself refuses a request that was allowed, before anything is sent. ``limit`` is the one that is used
    up, where one is.
    """

    reason_code: str
    reason: str
    limit: dict[str, Any] | None = None


class FinishEgress(CommandBody):
    """What came of a request. ``sender`` is the attempt's; None: a process that is gone began it, and ``unsent`` says
    that it had sent nothing.
    """

    sender: str | None = None
    result: Literal["succeeded", "failed", "outcome_unknown"]
    unsent: bool = False
    outcome: dict[str, Any] = Field(default_factory=dict)


class ReconcileEgress(CommandBody):
    """A person says what came of a request whose outcome is not known."""

    outcome: Literal["succeeded", "failed"]
    note: str = Field(min_length=1, max_length=4000)
