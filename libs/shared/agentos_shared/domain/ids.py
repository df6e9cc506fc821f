"""Identifiers: prefixed ULIDs for entities, UUIDv7 for events. The only place that draws random ids."""

import hashlib
import os
import random
import threading
import time
from typing import Final

from ulid import ULID

ROOM: Final = "room_"
THREAD: Final = "th_"
MESSAGE: Final = "msg_"
RUN: Final = "run_"
ATTEMPT: Final = "rat_"
STEP: Final = "step_"
TOOL_CALL: Final = "tc_"
ARTIFACT: Final = "art_"
INCIDENT: Final = "inc_"
#: Before 32 hexadecimal digits.
LEARNING: Final = "learn_"
EVIDENCE: Final = "evd_"
EXPERIMENT: Final = "exp_"
SCORECARD: Final = "scd_"
LESSON: Final = "les_"
APPROVAL: Final = "appr_"
DECISION: Final = "dec_"
#: Before 32 hexadecimal digits of a UUID.
ENGINE: Final = "eng_"
AGENT: Final = "agt_"
ACTION: Final = "actn_"
#: Before 32 hexadecimal digits.
EGRESS_RULE: Final = "egrl_"
#: All rules of a workspace as one.
EGRESS_RULES: Final = "egrs_"
EGRESS_PROPOSAL: Final = "egp_"
KILL_SWITCH: Final = "kill_"
RESOURCE_LABEL: Final = "lbl_"
#: Before 32 hexadecimal digits.
CONSTRAINT: Final = "cst_"
EGRESS_REQUEST: Final = "egr_"
SECRET: Final = "sec_"  # noqa: S105 - the prefix, not a secret
ENGINE_TOKEN: Final = "engtok_"  # noqa: S105 - the prefix, not a token

_POOL_BYTES: Final = 4096


class _Randomness:
    """Bytes of the operating system, fetched a page at a time: a call per id would cost more than the id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = b""
        self._used = 0
        os.register_at_fork(after_in_child=self._forget)

    def take(self, size: int) -> bytes:
        with self._lock:
            if self._used + size > len(self._pool):
                self._pool, self._used = os.urandom(_POOL_BYTES), 0
            start = self._used
            self._used += size
            return self._pool[start : self._used]

    def _forget(self) -> None:
        self._pool = b""
        _tails.seed(os.urandom(32))


#: Event ids must be unique, not secret: a generator seeded by the operating system is enough, and much cheaper.
_tails = random.Random(os.urandom(32))  # noqa: S311
_randomness = _Randomness()
_lock = threading.Lock()
_last = 0


def random_bytes(size: int) -> bytes:
    """Unpredictable bytes, at most 4096: for salts."""
    return _randomness.take(size)


def new_id(prefix: str) -> str:
    """A prefixed ULID, such as ``room_01J...`` (26 Crockford characters after the prefix)."""
    moment = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    return prefix + str(ULID(moment + _randomness.take(10)))


def new_hex(prefix: str) -> str:
    """A prefix and 32 random hexadecimal digits."""
    return prefix + _randomness.take(16).hex()


def derived_id(prefix: str, *names: str) -> str:
    """A prefixed id in the form of a ULID that the same names always give, and no others (128 bits of SHA-256).

    For what exists once for these names: two writers that create it at once meet at its first version.
    """
    return prefix + str(ULID(_digest(prefix, names)[:16]))


def derived_hex(prefix: str, *names: str) -> str:
    """A prefix and 32 hexadecimal digits that the same names always give."""
    return prefix + _digest(prefix, names)[:16].hex()


def _digest(prefix: str, names: tuple[str, ...]) -> bytes:
    return hashlib.sha256("\x00".join((prefix, *names)).encode()).digest()


def new_uuid() -> str:
    """A random UUID (version 4) as text."""
    digits = (int.from_bytes(_randomness.take(16), "big") & ~(0xF << 76 | 0xC << 60)) | 0x4 << 76 | 0x8 << 60
    return _dashed(f"{digits:032x}")


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
    tail = _tails.getrandbits(62) | 0x8000_0000_0000_0000
    return _dashed(f"{ticks >> 12:012x}7{ticks & 0xFFF:03x}{tail:016x}")


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
