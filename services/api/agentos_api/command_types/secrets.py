"""What is put on record of the vault's secrets. The values are the gateway's; setting one is a call."""

from typing import Final

from agentos_api.command_type import CommandType
from agentos_shared.domain import secrets
from agentos_shared.domain.secrets import RecordLeak, RecordSecret

RECORD: Final = "secret.record"


def _itself(_workspace_id: str, body: RecordSecret) -> str:
    return body.secret_id


def _source(_workspace_id: str, body: RecordLeak) -> str:
    return body.source_event_id


SECRETS: Final = (
    CommandType(
        name=RECORD,
        path="",
        body=RecordSecret,
        decide=secrets.record,
        entity=_itself,
        internal=True,
    ),
    CommandType(
        name="secret.leak",
        path="",
        body=RecordLeak,
        decide=secrets.record_leak,
        entity=_source,
        internal=True,
    ),
)
