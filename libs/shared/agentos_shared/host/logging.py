"""Logs: one JSON object a line on stderr (``AGENTOS_LOG_FORMAT=console`` for people), through structlog.

What uvicorn, nats-py and FastStream say through the standard library's logging comes out the same way. Secrets do not:
values under well-known keys are masked, and so are passwords in URLs and token-like text anywhere in the line.

A module's logger is ``log = structlog.get_logger("agentos.relay")``. Give uvicorn ``log_config=None``, and FastStream's
broker and app ``logger=logging.getLogger("agentos.bus")``, else they install handlers of their own.
"""

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import orjson
import structlog

from agentos_shared.dlp import redact_text
from agentos_shared.host import telemetry
from agentos_shared.host.settings import Settings

MASK: Final = "***"
_SECRET_KEYS: Final = (
    "password", "passwd", "passphrase", "secret", "token", "authorization", "cookie",
    "api_key", "apikey", "access_key", "private_key", "credential", "credentials", "salt",
)  # fmt: skip
# Bounded, so that a hostile line cannot make it slow.
_URL_PASSWORD: Final = re.compile(r"(://[^\s:/?#@\"']{0,256}:)[^\s@\"']{1,1024}@")
_MAX_DEPTH: Final = 6

EventDict = MutableMapping[str, Any]


def mask_url(text: str) -> str:
    """The text with the password of every URL in it masked: ``nats://api:***@127.0.0.1:4222``."""
    if "://" not in text or "@" not in text:
        return text
    return _URL_PASSWORD.sub(rf"\1{MASK}@", text)


def mask_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """structlog processor: mask values under secret keys (also nested ones), passwords in URLs, and token-like text."""
    for key, value in event.items():
        if not key.startswith("_"):  # structlog's own, such as _record
            event[key] = MASK if value and _is_secret(key) else _masked(value, 0)
    return event


def _is_secret(key: str) -> bool:
    return key.lower().replace("-", "_").endswith(_SECRET_KEYS)


def _masked(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return redact_text(mask_url(value))
    if value is None or kind is int or kind is float or kind is bool:
        return value
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {
            str(key): MASK if member and _is_secret(str(key)) else _masked(member, depth + 1)
            for key, member in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
        return [_masked(member, depth + 1) for member in value]
    return redact_text(mask_url(str(value)))


def _add_logger_name(logger: object, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = record.name if isinstance(record, logging.LogRecord) else getattr(logger, "name", None)
    if name is not None:
        event["logger"] = name
    return event


def _add_trace(_logger: object, _method: str, event: EventDict) -> EventDict:
    parsed = telemetry.parse(telemetry.current())
    if parsed is not None:
        event["trace_id"] = parsed.trace_id
        event["span_id"] = parsed.span_id
    return event


def _add_service(service: str) -> Callable[[object, str, EventDict], EventDict]:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _json(_logger: object, _method: str, event: EventDict) -> str:
    # The masking before has left only JSON values; a lone surrogate would still stop orjson.
    try:
        return orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        return orjson.dumps({key: repr(value) for key, value in event.items()}).decode()


class _Output:
    """Where lines go: stderr, or another stream. Never raises: a closed pipe must not stop a service."""

    stream: TextIO | None = None

    @classmethod
    def write(cls, line: str) -> None:
        try:
            stream = cls.stream or sys.stderr
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            return


class _Named:
    """structlog's end of the chain; knows the name that ``get_logger`` was given."""

    def __init__(self, name: str | None = None, *_: object) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        _Output.write(line)

    debug = info = warning = error = critical = exception = log = fatal = msg


# Loggers hold on to this list once they were used, so a later set-up changes it in place.
_processors: Final[list[structlog.typing.Processor]] = []


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # a record that cannot be formatted is a bug of the caller: told on stderr by logging itself
            self.handleError(record)
            return
        _Output.write(line)


#: Loggers that bring handlers of their own when their package is imported.
_ADOPTED: Final = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "faststream", "nats")
#: One line a request or message is noise at our rates; metrics and traces tell the same.
_SILENCED: Final = ("uvicorn.access", "faststream.access")
#: Libraries whose info is chatter.
_QUIETED: Final = ("httpx", "httpcore", "asyncio", "urllib3", "opentelemetry")


def configure(service: str, settings: Settings | None = None, *, stream: TextIO | None = None) -> None:
    """Set up logging for this process. Calling it again replaces the former set-up.

    Args:
        service: the value of ``service`` in every line, such as ``api``.
        settings: level and format; defaults where None (before the settings could be read).
        stream: stderr when None.
    """
    level = logging.getLevelNamesMapping()[(settings.log_level if settings else "info").upper()]
    console = settings is not None and settings.log_format == "console"
    _Output.stream = stream
    shared: list[structlog.typing.Processor] = [
        _add_logger_name,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_service(service),
        _add_trace,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    render: structlog.typing.Processor = _json
    if console:
        render = structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
    _processors[:] = [*shared, render]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Named,
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _ADOPTED:
        adopted = logging.getLogger(name)
        adopted.handlers.clear()
        adopted.propagate = True
        adopted.setLevel(logging.NOTSET)
    for name in _SILENCED:
        silenced = logging.getLogger(name)
        silenced.handlers.clear()
        silenced.setLevel(logging.WARNING)
    for name in _QUIETED:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
