"""What is in a request and in its answer: secrets are put in on the way out, and none is let through besides; on the
way back they are taken out again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentos_gateway.address import parse
from agentos_gateway.vault import Vault
from agentos_gateway.vault.inject import Filled, NotAllowed, Secret
from agentos_gateway.vault.vault import Opened
from agentos_shared.dlp import DETECTOR, REDACTED, SCANNER_VERSION, Find, cut, preview
from agentos_shared.dlp.scanner import MAX_MATCHES

FOUND: Final = "egress.secret_found"
#: Where a caller's own credentials stand. A value of the vault is none of theirs, there as anywhere.
_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
_REDACTED: Final = REDACTED.encode()


class Leak(NotAllowed):
    """A request holds a secret that nobody named.

    Attributes:
        finds: for the report: rule and preview of each.
    """

    def __init__(self, finds: Sequence[tuple[str, str]]) -> None:
        what = ", ".join(dict.fromkeys(rule for rule, _ in finds))
        super().__init__(FOUND, f"It holds what looks like a secret ({what}); keep it in the vault and name it.")
        self.finds = finds

    def told(self) -> dict[str, Any]:
        """As ``secret.leaked.detected`` tells it."""
        return {
            "scanner_version": SCANNER_VERSION,
            "match_count": len(self.finds),
            "rule_ids": list(dict.fromkeys(rule for rule, _ in self.finds)),
            "matches": [{"rule_id": rule, "match_preview": shown} for rule, shown in self.finds[:MAX_MATCHES]],
        }


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request that may be sent.

    Args:
        opened: what finds the secrets of its workspace in the answer.
    """

    request: Filled
    opened: Opened = field(repr=False)

    @property
    def used(self) -> tuple[Secret, ...]:
        """The secrets that were put in."""
        return self.request.used

    def scrubbed_headers(self, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Header fields of the answer."""
        return [(name, self.scrubbed(value.encode("utf-8", "replace")).decode()) for name, value in headers]

    def scrubbed(self, raw: bytes, *, cut_short: bool = False) -> bytes:
        """A text of the answer without secrets: values of the vault in all their forms, and what looks like one.

        Args:
            cut_short: more followed that was not read, so the end may be the beginning of a value.
        """
        exact = self.opened.exact
        if cut_short and (open_at := exact.held(raw[-exact.reach :])):
            raw = raw[:-open_at]
        clean = _cut(raw, exact.find(raw))
        return _cut(clean, DETECTOR.find(clean))


class Contents:
    """Looks into requests."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def outgoing(
        self, workspace_id: str, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Outgoing:
        """The request as it is sent.

        Raises:
            NotAllowed: a secret may not go there, or there is none of that name.
            Leak: there is a secret in it already.
        """
        request, opened = await self._vault.filled(workspace_id, parse(url), method, url, headers, body)
        finds: list[tuple[str, str]] = []
        for name, raw in (("", url.encode()), ("", body), *((name, value.encode()) for name, value in headers)):
            found = list(opened.exact.find(raw))
            if name.lower() not in _CREDENTIALS:
                found += DETECTOR.find(raw)
            finds += [(find.rule_id, preview(raw[find.start : find.end].decode(errors="replace"))) for find in found]
        if finds:
            raise Leak(finds)
        return Outgoing(request, opened)


def injection(secret: Secret, request_id: str) -> Mapping[str, Any]:
    """What is put on record of a secret's use."""
    return {
        "secret_id": secret.secret_id,
        "doing": "injected",
        "secret_name": secret.name,
        "version": secret.version,
        "egress_request_id": request_id,
    }


def _cut(raw: bytes, finds: list[Find]) -> bytes:
    return cut(raw, finds, _REDACTED) if finds else raw
