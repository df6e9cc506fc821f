"""Where a text that goes on may be cut: behind everything that is settled, before anything that may become a secret."""

from collections.abc import Iterable
from typing import Final, Literal

from ahocorasick_rs import BytesAhoCorasick, Implementation

#: How a beginning ends: a token with its run of characters, a name and its value with the line, a key in PEM with its
#: last line, a compressed member with the window.
Kind = Literal["token", "line", "pem", "member"]

#: What must be seen before a keyword for its rule to match, bytes: a URL's scheme, a header's name.
_CONTEXT: Final = 24
_RUN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=%\\\r\n"
_LABEL: Final = 48


class Borders:
    """Answers how much of a text's end is open.

    Args:
        keywords: what secrets begin with, and how such a beginning ends.
        loose: those that are lower-case and stand for every case.
    """

    def __init__(self, keywords: Iterable[tuple[bytes, Kind]], loose: Iterable[tuple[bytes, Kind]]) -> None:
        self._sides = [(_Side(keywords), False), (_Side(loose), True)]

    def settled(self, tail: bytes) -> int:
        """Up to where nothing that follows can make a secret out of what is there."""
        return min(side.settled(tail, tail.lower() if lower else tail) for side, lower in self._sides)


class _Side:
    def __init__(self, keywords: Iterable[tuple[bytes, Kind]]) -> None:
        kinds = dict(keywords)
        self._texts = list(kinds)
        self._kinds = list(kinds.values())
        self._find = BytesAhoCorasick(self._texts, implementation=Implementation.ContiguousNFA).find_matches_as_indexes
        self._before: dict[bytes, int] = {}
        for text, kind in kinds.items():
            need = _CONTEXT if kind == "line" else 1
            for size in range(1, len(text)):
                self._before[text[:size]] = max(need, self._before.get(text[:size], 0))
        self._longest = max(map(len, self._before), default=0)

    def settled(self, tail: bytes, searched: bytes) -> int:
        size = len(tail)
        settled = size
        for length in range(min(self._longest, size), 0, -1):
            need = self._before.get(searched[size - length :])
            if need is not None:
                settled = min(settled, max(0, size - length - need))
        for number, start, end in self._find(searched, True):
            kind = self._kinds[number]
            begin = max(0, start - (_CONTEXT if kind == "line" else 1))
            if begin < settled and _open(tail, end, kind):
                settled = begin
        return settled


def _open(tail: bytes, end: int, kind: Kind) -> bool:
    after = tail[end:]
    if kind == "token":
        return not after.lstrip(_RUN)
    if kind == "line":
        return b"\n" not in after
    if kind == "pem":
        return b"-----END" not in after[:-_LABEL] and (len(after) < _LABEL or b"PRIVATE KEY" in after[:_LABEL])
    return True
