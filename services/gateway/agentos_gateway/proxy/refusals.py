"""What the proxy answers instead of the world outside: a status, and JSON that tells why and what can be done."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson

from agentos_gateway.address import Target
from agentos_shared.domain.egress_match import TUNNEL

MAX_DETAIL: Final = 1000
CHALLENGE: Final = 'Basic realm="agentos", charset="UTF-8"'


class Refusal(Exception):
    """An answer of the proxy itself."""

    def __init__(self, status: int, told: Mapping[str, Any], retry_after_s: int | None = None) -> None:
        super().__init__(status)
        self.status, self.told, self.retry_after_s = status, told, retry_after_s

    def answer(self, *, close: bool, bodiless: bool = False) -> bytes:
        """As bytes. ``bodiless``: to HEAD."""
        body = orjson.dumps(self.told)
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
        ]
        if self.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            lines.append(f"Proxy-Authenticate: {CHALLENGE}")
        if self.retry_after_s is not None:
            lines.append(f"Retry-After: {self.retry_after_s}")
        if close:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if bodiless else body)


def plain(status: int, code: str, detail: str) -> Refusal:
    """One that has nothing to do with rules."""
    return Refusal(status, {"error": code, "detail": detail[:MAX_DETAIL]})


def denied(
    target: Target,
    method: str,
    layer: str,
    codes: Sequence[str],
    detail: str,
    *,
    next_steps: Sequence[str] = (),
    rule_missing: Mapping[str, Any] | None = None,
    approval_url: str | None = None,
    request_id: str | None = None,
    retry_after_s: int | None = None,
) -> Refusal:
    """403 (429 where only time is missing): something of ours does not let it out.

    Args:
        layer: ``identity``, ``policy``, ``limits``, ``dlp``, ``vault`` or ``address``.
        rule_missing: the egress rule that would allow it, where that is all that is missing.
    """
    told: dict[str, Any] = {
        "error": "policy_denied",
        "reason_codes": list(codes),
        "detail": detail[:MAX_DETAIL],
        "layer": layer,
        "host": target.host,
        "port": target.port,
        "method": method,
        "path": None if method == TUNNEL else target.path,
        "rule_missing": rule_missing,
        "next_steps": list(next_steps),
        "egress_request_id": request_id,
    }
    if approval_url is not None:
        told["approval_url"] = approval_url
    return Refusal(429 if retry_after_s is not None else 403, told, retry_after_s)
