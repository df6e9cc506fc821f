"""How the local user gets into the browser: a link that works once, and the session that it opens.

Both are derived from the local user's token, so that whoever can read its file can make a link, no server need be asked
for one, and a new token ends all of them. The token itself never gets into a browser, whose cookies go to every port of
this machine's loopback.
"""

import hmac
import re
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from agentos_shared.domain import ids

LINK_PATH: Final = "/auth/once/"
LINK_LIFE: Final = timedelta(minutes=5)
SESSION_LIFE: Final = timedelta(days=30)
_CODE: Final = re.compile(r"([0-9]{1,15})\.([0-9a-f]{32})\.([0-9a-f]{64})")


def link_path(token: str, now: datetime) -> str:
    """The path of a link that opens a session until five minutes from ``now``, once."""
    return LINK_PATH + _signed(token, "once", now + LINK_LIFE)


def link_made_at(token: str, code: str, now: datetime) -> datetime | None:
    """When the link with this code was made; None: it is not good, or not any more."""
    until = _until(token, "once", code, now)
    return None if until is None else until - LINK_LIFE


def session(token: str, now: datetime) -> str:
    """A session of the local user's that lasts thirty days."""
    return _signed(token, "session", now + SESSION_LIFE)


def is_session(token: str, text: str, now: datetime) -> bool:
    """Whether this is a session of the local user's that lasts."""
    return _until(token, "session", text, now) is not None


def _signed(token: str, purpose: str, until: datetime) -> str:
    milliseconds, nonce = int(until.timestamp() * 1000), ids.random_bytes(16).hex()
    return f"{milliseconds}.{nonce}.{_signature(token, purpose, str(milliseconds), nonce)}"


def _signature(token: str, purpose: str, milliseconds: str, nonce: str) -> str:
    text = f"agentos.{purpose}.v1\n{milliseconds}\n{nonce}"
    return hmac.new(token.encode(), text.encode(), sha256).hexdigest()


def _until(token: str, purpose: str, text: str, now: datetime) -> datetime | None:
    match = _CODE.fullmatch(text)
    if match is None or not hmac.compare_digest(_signature(token, purpose, match[1], match[2]), match[3]):
        return None
    until = datetime.fromtimestamp(int(match[1]) / 1000, now.tzinfo)
    return until if until > now else None
