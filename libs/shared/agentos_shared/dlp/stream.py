"""Bytes that flow are scanned as they pass: what may be the beginning of a secret is held back until more is there.

Memory is bounded: never more than :data:`WINDOW` bytes are held. Text in which nothing begins passes at once, so that
server-sent events are not delayed.
"""

from collections import Counter
from typing import Final

from agentos_shared.dlp.detect import DETECTOR, Detector, Find, merged
from agentos_shared.dlp.exact import Exact
from agentos_shared.dlp.scanner import MAX_MATCHES, Match, cut, preview

#: Longest secret that is still found when it lies over chunk borders, bytes: a private key of 8192 bits.
WINDOW: Final = 8 << 10
#: How far before a value its name may stand.
_NAME: Final = 64


class Stream:
    """One body, one direction.

    Args:
        exact: values that are known, or None.
        detector: what secrets look like; None looks for known values alone.
        redact: give out ``[redacted]`` in place of what is found; otherwise everything passes as it came.

    Attributes:
        matches: the first finds, for the report.
        counts: finds by rule.
    """

    def __init__(
        self, exact: Exact | None = None, detector: Detector | None = DETECTOR, *, redact: bool = False
    ) -> None:
        self._exact, self._detector, self._redact = exact, detector, redact
        self._held = b""
        self.matches: list[Match] = []
        self.counts: Counter[str] = Counter()

    @property
    def found(self) -> bool:
        return bool(self.counts)

    def feed(self, chunk: bytes) -> bytes:
        """What can go on, in order: the chunk, less what is held, more what was."""
        return self._pass(self._held + chunk, last=False) if chunk else b""

    def finish(self) -> bytes:
        """What was still held, once the body has ended."""
        return self._pass(self._held, last=True)

    def _pass(self, raw: bytes, *, last: bool) -> bytes:
        finds = self._find(raw)
        end = len(raw) if last else self._border(raw, finds)
        done = [find for find in finds if find.end <= end]
        for find in done:
            self.counts[find.rule_id] += 1
            if len(self.matches) < MAX_MATCHES:
                found = raw[find.start : find.end].decode(errors="replace")
                self.matches.append(Match(find.rule_id, preview(found)))
        self._held = raw[end:]
        return cut(raw[:end], done) if self._redact else raw[:end]

    def _find(self, raw: bytes) -> list[Find]:
        finds = [(1, find) for find in self._detector.find(raw)] if self._detector is not None else []
        if self._exact is not None:
            finds += [(0, find) for find in self._exact.find(raw)]
        return merged(finds)

    def _border(self, raw: bytes, finds: list[Find]) -> int:
        """Up to where the bytes are settled, whatever follows."""
        tail = raw[-WINDOW:]
        before = len(raw) - len(tail)
        open_at = len(raw)
        if self._detector is not None:
            open_at = min(open_at, before + self._detector.borders.settled(tail))
        if self._exact is not None:
            open_at = min(open_at, len(raw) - self._exact.held(tail))
        # A find that ends where the bytes end may go on; what names it stays with it.
        if finds and finds[-1].end == len(raw):
            start = finds[-1].start
            open_at = min(open_at, max(0, start - _NAME)) if len(raw) - start <= WINDOW else len(raw)
        for find in reversed(finds):
            if find.start < open_at < find.end:
                open_at = find.end
            elif find.start - _NAME < open_at <= find.start:
                open_at = max(0, find.start - _NAME)
        return open_at
