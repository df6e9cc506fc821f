"""The JetStream stream of all events, seen by its one publisher: what it is, what it holds, how it is mended.

It is a cache of the event store. Its metadata carries one mark, the sequence from which it was filled completely; the
mark lives and dies with the stream, so a stream that is new, or half filled, tells so itself.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError

from agentos_shared.contracts import subjects
from agentos_shared.host.lifecycle import CLOCK, Clock

log = structlog.get_logger()

#: Filled completely, from this JetStream sequence on.
FILLED_FROM: Final = "agentos-filled-from"
DEFAULT_MAX_BYTES: Final = 1024 * 1024 * 1024
API_TIMEOUT_S: Final = 2.0
#: The shortest window that the server takes.
FORGET_DUPLICATES_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Contents:
    """What the stream holds.

    ``filled_from`` is None while it was never filled completely. ``missing`` counts messages that are gone from the
    middle: nobody deletes there, so they are damage.
    """

    first_seq: int
    last_seq: int
    messages: int
    missing: int
    filled_from: int | None

    @property
    def emptied(self) -> bool:
        """Whether there were messages once, and all are gone."""
        return self.messages == 0 and self.last_seq > 0

    @property
    def trimmed(self) -> bool:
        """Whether the oldest messages were discarded by the size limit since it was filled."""
        return self.filled_from is not None and self.first_seq > self.filled_from


class EventsStream:
    """Administers ``AGENTOS_EVENTS``. Every call raises nats.errors.Error (or its TimeoutError) when NATS is away.

    Args:
        max_bytes: size at which JetStream discards the oldest messages.
    """

    def __init__(self, nats: Client, *, max_bytes: int = DEFAULT_MAX_BYTES, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._js = nats.jsm(timeout=API_TIMEOUT_S)
        self._max_bytes = max_bytes

    async def open(self) -> Contents:
        """Create the stream, or bring its settings up to date, and tell what it holds."""
        try:
            info = await self._js.stream_info(subjects.EVENTS_STREAM)
        except NotFoundError:
            log.warning("jetstream_stream_created", stream=subjects.EVENTS_STREAM)
            return _contents(await self._js.add_stream(self._config()))
        wanted = self._config()
        differing = [name for name in _LIVE_SETTINGS if getattr(info.config, name) != getattr(wanted, name)]
        if differing:
            for name in differing:
                setattr(info.config, name, getattr(wanted, name))
            try:
                info = await self._js.update_stream(info.config)
            except BadRequestError as error:  # an operator's choice (or limit) wins; the relay works with either
                log.warning("jetstream_settings_kept", differing=differing, error=str(error))
        return _contents(info)

    async def contents(self) -> Contents | None:
        """What the stream holds now; None when there is no such stream."""
        try:
            return _contents(await self._js.stream_info(subjects.EVENTS_STREAM))
        except NotFoundError:
            return None

    async def mark_filled(self, filled_from: int) -> None:
        """Note that everything was published, from this JetStream sequence on."""
        info = await self._js.stream_info(subjects.EVENTS_STREAM)
        info.config.metadata = {**(info.config.metadata or {}), FILLED_FROM: str(filled_from)}
        await self._js.update_stream(info.config)

    async def clear(self) -> Contents:
        """Drop all messages and the mark, and forget their ids. Consumers and the numbering stay."""
        info = await self._js.stream_info(subjects.EVENTS_STREAM)
        info.config.metadata = {
            name: value for name, value in (info.config.metadata or {}).items() if name != FILLED_FROM
        }
        await self._js.update_stream(info.config)
        await self._js.purge_stream(subjects.EVENTS_STREAM)
        return await self.forget_ids()

    async def forget_ids(self) -> Contents:
        """Have the server take events that it took before.

        It remembers their ids for the duplicate window, purged ones as well: a moment with the shortest window makes
        it forget.
        """
        info = await self._js.stream_info(subjects.EVENTS_STREAM)
        info.config.duplicate_window = FORGET_DUPLICATES_S
        await self._js.update_stream(info.config)
        await self._clock.sleep(3 * FORGET_DUPLICATES_S)
        info.config.duplicate_window = subjects.DUPLICATE_WINDOW_S
        return _contents(await self._js.update_stream(info.config))

    async def last_published(self, stream_type: str, stream_id: str) -> int | None:
        """``stream_seq`` of the last message of one stream; None when it has none.

        Asked of the stream's leader, not of a replica, which may lag right after a publish.
        """
        headers = await self._last(subjects.events_of(stream_type, stream_id))
        seq = headers.get(subjects.HEADER_STREAM_SEQ, "")
        return int(seq) if seq.isdecimal() else None

    async def last_event_id(self) -> UUID | None:
        """Id of the event in the last message; None when there is none."""
        event_id = (await self._last(subjects.EVENTS_SUBJECTS)).get(subjects.HEADER_EVENT_ID)
        try:
            return None if event_id is None else UUID(event_id)
        except ValueError:
            return None

    async def _last(self, subject: str) -> dict[str, str]:
        try:
            message = await self._js.get_last_msg(subjects.EVENTS_STREAM, subject)
        except NotFoundError:
            return {}
        return dict(message.headers or {})

    def _config(self) -> StreamConfig:
        return StreamConfig(
            name=subjects.EVENTS_STREAM,
            description="Every event, as a hint: the truth is evt_events in Postgres.",
            subjects=[subjects.EVENTS_SUBJECTS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=1,
            discard=DiscardPolicy.OLD,
            max_bytes=self._max_bytes,
            max_consumers=subjects.MAX_CONSUMERS,
            duplicate_window=subjects.DUPLICATE_WINDOW_S,
            allow_direct=True,
        )


#: Settings that a running stream can take over; replicas stay as the operator set them.
_LIVE_SETTINGS: Final = ("subjects", "discard", "max_bytes", "duplicate_window", "allow_direct")


def _contents(info: StreamInfo) -> Contents:
    metadata: dict[str, Any] = info.config.metadata or {}
    mark = str(metadata.get(FILLED_FROM, ""))
    return Contents(
        first_seq=info.state.first_seq,
        last_seq=info.state.last_seq,
        messages=info.state.messages,
        missing=info.state.num_deleted or 0,
        filled_from=int(mark) if mark.isdecimal() else None,
    )
