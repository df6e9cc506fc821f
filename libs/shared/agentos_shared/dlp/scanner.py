"""The scanner of events: secrets in every text (and key) of an event's data, replaced before it is hashed and stored.

All of the data is scanned and every find replaced; only the report is cut, after :data:`MAX_MATCHES`. A name and its
value are looked at together (``"password": "..."``), and so are all texts in a row, for what is split over them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from agentos_shared.dlp.detect import DETECTOR, LIGHT, Find

SCANNER_VERSION: Final = "dlp_v1"
REDACTED: Final = "[redacted]"
MAX_MATCHES: Final = 20
_EDGE: Final = 4
_REPLACEMENT: Final = REDACTED.encode()


@dataclass(frozen=True, slots=True)
class Match:
    """One find. ``match_preview`` shows the first and last four characters, of eight or fewer none."""

    rule_id: str
    match_preview: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found.

    Attributes:
        data: the data with each find replaced by ``[redacted]``; the very object that was given when nothing was found.
        matches: the first :data:`MAX_MATCHES` finds, in order within each text.
        match_count: all finds.
    """

    data: Any
    matches: tuple[Match, ...] = ()
    match_count: int = 0

    @property
    def found(self) -> bool:
        return self.match_count > 0

    @property
    def rule_ids(self) -> list[str]:
        """The rules that matched, each once, in order of their first find."""
        return list(dict.fromkeys(match.rule_id for match in self.matches))


@dataclass(slots=True)
class _Finds:
    matches: list[Match] = field(default_factory=list)
    count: int = 0

    def note(self, rule_id: str, found: bytes) -> None:
        self.count += 1
        if len(self.matches) < MAX_MATCHES:
            self.matches.append(Match(rule_id, preview(found.decode(errors="replace"))))

    def replace(self, text: str) -> str:
        raw = text.encode()
        finds = DETECTOR.find(raw)
        return self._replaced(raw, finds).decode(errors="replace") if finds else text

    def member(self, name: str, text: str) -> str:
        """A text as the value of a name, which may tell what it is."""
        lead, value = f'"{name}": "'.encode(), text.encode()
        finds = DETECTOR.find(lead + value + b'"')
        shift, end = len(lead), len(lead) + len(value)
        inside = [
            Find(find.rule_id, max(find.start, shift) - shift, min(find.end, end) - shift)
            for find in finds
            if find.end > shift and find.start < end
        ]
        return self._replaced(value, inside).decode(errors="replace") if inside else text

    def _replaced(self, raw: bytes, finds: list[Find]) -> bytes:
        for find in finds:
            self.note(find.rule_id, raw[find.start : find.end])
        return cut(raw, finds)

    def walk(self, value: Any, name: str = "") -> Any:
        kind = type(value)
        if kind is str:
            return self.member(name, value) if name else self.replace(value)
        if isinstance(value, Mapping):
            replaced: dict[str, Any] = {}
            for key, member in value.items():
                shown = self.replace(key)
                if shown != key:
                    shown = _free(shown, value, replaced)
                replaced[shown] = self.walk(member, shown)
            return replaced
        if isinstance(value, (list, tuple)):
            return [self.walk(member) for member in value]
        return value

    def joined(self, value: Any) -> Any:
        """What is split over several texts, all of whose parts are replaced."""
        texts = list(_texts(value))
        raws = [text.encode() for text in texts]
        starts = [0]
        for raw in raws:
            starts.append(starts[-1] + len(raw))
        whole = b"".join(raws)
        parts: dict[int, list[Find]] = {}
        for find in DETECTOR.find(whole):
            first, last = bisect_right(starts, find.start) - 1, bisect_right(starts, find.end - 1) - 1
            if first == last:
                continue
            self.note(find.rule_id, whole[find.start : find.end])
            for at in range(first, last + 1):
                begin, size = starts[at], len(raws[at])
                if size:
                    part = Find(find.rule_id, max(find.start - begin, 0), min(find.end - begin, size))
                    parts.setdefault(at, []).append(part)
        if not parts:
            return value
        cleaned = iter([cut(raw, parts.get(at, [])).decode(errors="replace") for at, raw in enumerate(raws)])
        return _with_texts(value, cleaned)


def cut(raw: bytes, finds: list[Find], replacement: bytes = _REPLACEMENT) -> bytes:
    """The bytes with each find replaced. Finds are in order and do not overlap."""
    pieces: list[bytes] = []
    at = 0
    for find in finds:
        pieces += (raw[at : find.start], replacement)
        at = find.end
    return b"".join((*pieces, raw[at:]))


def preview(found: str) -> str:
    """The first and last four characters; of eight or fewer, none."""
    if len(found) <= 2 * _EDGE:
        return "*" * len(found)
    return f"{found[:_EDGE]}...{found[-_EDGE:]}"


def _free(name: str, *taken: Mapping[str, Any]) -> str:
    """The name, numbered where it is taken: no member may vanish."""
    free, ordinal = name, 2
    while any(free in names for names in taken):
        free, ordinal = f"{name}{ordinal}", ordinal + 1
    return free


def _texts(value: Any) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _texts(member)


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    if type(value) is str:
        return next(texts)
    if isinstance(value, Mapping):
        return {key: _with_texts(member, texts) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_texts(member, texts) for member in value]
    return value


def suspicious(raw: bytes) -> bool:
    """False when JSON text, written by orjson or canonically, cannot hold a find. Costs about a microsecond."""
    return DETECTOR.suspicious(raw)


def scan(data: Mapping[str, Any], raw: bytes | None = None) -> Scan:
    """Find secrets in an event's data.

    Args:
        data: a JSON object.
        raw: JSON bytes that contain it (written by orjson or canonically), where the caller has them already.
    """
    if not suspicious(orjson.dumps(data) if raw is None else raw):
        return Scan(data)
    finds = _Finds()
    replaced = finds.joined(finds.walk(data))
    if not finds.count:
        return Scan(data)
    return Scan(replaced, tuple(finds.matches), finds.count)


def redact_text(text: str) -> str:
    """A plain text with each find replaced, for logs."""
    raw = text.encode(errors="surrogatepass")
    finds = LIGHT.find(raw)
    return cut(raw, finds).decode(errors="replace") if finds else text
