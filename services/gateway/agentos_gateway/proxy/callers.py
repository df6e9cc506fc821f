"""Who calls the proxy, as the user name and the password of the proxy's URL tell it.

``run:<run_id>[:<token>]``, ``token:<capability token>`` or ``<agent>[:<token>]``, each after ``<workspace>+`` where it
is another than the default one. Nothing is proved here: the API checks the token.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from agentos_gateway.send.headers import Header, values

#: As where no header names one: of the API too.
DEFAULT_WORKSPACE: Final = "ws_dev"
_WORKSPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_.@/-]{1,200}", re.ASCII)


class BadCredentials(Exception):
    """They are not of a form that is known; the message says which are, and repeats nothing."""

    def __init__(self) -> None:
        super().__init__(
            "The user of the proxy's URL is run:<run_id>, token, or an agent's name; the password a capability token."
        )


@dataclass(frozen=True, slots=True)
class Named:
    """Who a caller says it is. ``agent`` None: the token tells, or nobody does."""

    workspace_id: str = DEFAULT_WORKSPACE
    agent: str | None = None
    run_id: str | None = None
    token: str | None = field(default=None, repr=False)


def named(headers: tuple[Header, ...]) -> Named:
    """Whom ``Proxy-Authorization`` names; nobody without it.

    Raises:
        BadCredentials.
    """
    given = values(headers, "proxy-authorization")
    if not given:
        return Named()
    scheme, _, coded = given[0].partition(" ")
    try:
        text = base64.b64decode(coded.strip(), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise BadCredentials from None
    if len(given) > 1 or scheme.lower() != "basic":
        raise BadCredentials
    user, _, password = text.partition(":")
    workspace_id = DEFAULT_WORKSPACE
    if "+" in user:
        workspace_id, _, user = user.partition("+")
        if not _WORKSPACE.fullmatch(workspace_id):
            raise BadCredentials
    if user == "run":
        run_id, _, token = password.partition(":")
        if not _NAME.fullmatch(run_id):
            raise BadCredentials
        return Named(workspace_id, None, run_id, token or None)
    if user in ("token", ""):
        return Named(workspace_id, token=password or None)
    if not _NAME.fullmatch(user):
        raise BadCredentials
    return Named(workspace_id, user, token=password or None)
