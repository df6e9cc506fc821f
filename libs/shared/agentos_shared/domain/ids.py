"""Identifiers: prefixed ULIDs for entities, UUIDv7 for events. The only place that draws random ids."""

import os
import threading
import time

from ulid import ULID

ROOM = "room_"
THREAD = "th_"
MESSAGE = "msg_"

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A prefixed ULID, such as ``room_01J...`` (26 Crockford characters after the prefix)."""
    return prefix + str(ULID())


def new_event_id() -> str:
    """A UUIDv7 text (RFC 9562, section 5.7) that only grows within this process.

    The 12 bits ``rand_a`` carry the fraction of the millisecond (section 6.2, method 3), raised by one where the
    clock did not move, so that ids sort in the order in which they were drawn.
    """
    global _last
    now = time.time_ns()
    ticks = (now // 1_000_000 << 12) | ((now % 1_000_000 << 12) // 1_000_000)
    with _lock:
        _last = ticks = max(ticks, _last + 1)
    tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    digits = f"{ticks >> 12:012x}7{ticks & 0xFFF:03x}{tail:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
