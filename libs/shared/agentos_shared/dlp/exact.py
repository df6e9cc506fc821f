"""Known values, found exactly: the strongest detector there is, as the gateway knows the secrets it must not let pass.

One automaton holds each value in all forms of :func:`forms`; compressed bodies are read by the detector's decoder.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick, Implementation

from agentos_shared.dlp.detect import MAX_DEPTH, MAX_RUNS, Find, merged
from agentos_shared.dlp.encoded import GZIP, MAX_DECODED, Decode, base64_core, gunzip, variants

#: A shorter value would be found by chance, above all in base64.
MIN_VALUE: Final = 8
RULE_ID: Final = "vault_secret"


class Form(NamedTuple):
    """A value in one encoding."""

    encoding: str
    text: bytes


def forms(value: bytes) -> Iterator[Form]:
    """The value in the encodings in which it is looked for.

    As it is, base64 (both alphabets, at each of three places in a group), hexadecimal, URL, JSON, backwards, UTF-16.
    """
    yield Form("plain", value)
    yield from _packed("", value)
    yield Form("url", quote(value, safe="").encode())
    yield Form("form", quote_plus(value).encode())
    yield Form("percent", "".join(f"%{byte:02X}" for byte in value).encode())
    yield Form("percent lower", "".join(f"%{byte:02x}" for byte in value).encode())
    yield Form("reversed", value[::-1])
    text = value.decode(errors="replace")
    if "\ufffd" not in text:
        escaped = json.dumps(text, ensure_ascii=False)[1:-1].encode()
        yield Form("json", escaped)
        if escaped != value:
            yield from _packed("json in ", escaped)
        yield Form("json ascii", json.dumps(text)[1:-1].encode())
        yield Form("json twice", json.dumps(json.dumps(text))[3:-3].encode())
        yield Form("utf-16", text.encode("utf-16-le"))
    yield Form("base64 twice", base64_core(base64.b64encode(value), 0)[0])


def _packed(what: str, value: bytes) -> Iterator[Form]:
    for offset in range(3):
        yield Form(f"{what}base64+{offset}", base64_core(value, offset)[0])
        yield Form(f"{what}base64url+{offset}", base64_core(value, offset, urlsafe=True)[0])
    yield Form(f"{what}hex", value.hex().encode())
    yield Form(f"{what}HEX", value.hex().upper().encode())


class Exact:
    """Finds known values. Safe for threads; made anew when they change. Never shows them: its repr has their number.

    Args:
        values: by name; those shorter than :data:`MIN_VALUE` are left out.
    """

    def __init__(self, values: Mapping[str, bytes]) -> None:
        patterns: dict[bytes, str] = {}
        for name, value in values.items():
            if len(value) >= MIN_VALUE:
                for form in forms(value):
                    patterns.setdefault(form.text, name)
        self._names = list(patterns.values())
        self._patterns = list(patterns)
        # A compressed value has no form of its own: what is compressed is looked into, also where that is encoded.
        self._decoders: dict[int, Decode] = {}
        if patterns:
            for text, decode in ((GZIP, gunzip), *variants(GZIP, MAX_DECODED)):
                self._decoders[len(self._patterns)] = decode
                self._patterns.append(text)
        self._automaton = (
            BytesAhoCorasick(self._patterns, implementation=Implementation.ContiguousNFA) if patterns else None
        )
        #: Length of the longest form, bytes: how far a value may reach over the border of two chunks.
        self.reach = max(map(len, patterns), default=0)

    def __repr__(self) -> str:
        return f"Exact({len(set(self._names))} values)"

    def find(self, raw: bytes) -> list[Find]:
        """Where values stand; ``rule_id`` is always ``vault_secret``. What is compressed is found as a whole."""
        return self._within(raw, 0)

    def _within(self, raw: bytes, depth: int) -> list[Find]:
        if self._automaton is None:
            return []
        finds: list[tuple[int, Find]] = []
        runs = 0
        for number, start, end in self._automaton.find_matches_as_indexes(raw, True):
            decode = self._decoders.get(number)
            if decode is None:
                finds.append((0, Find(RULE_ID, start, end)))
            elif depth < MAX_DEPTH and runs < MAX_RUNS:
                runs += 1
                run = decode(raw, start)
                if run is not None and self._within(run.decoded, depth + 1):
                    finds.append((0, Find(RULE_ID, run.start, run.end)))
        return merged(finds)

    def names(self, raw: bytes) -> set[str]:
        """Names of the values that stand in the bytes, as they are or encoded."""
        if self._automaton is None:
            return set()
        hits = self._automaton.find_matches_as_indexes(raw, True)
        return {self._names[number] for number, _, _ in hits if number not in self._decoders}

    def held(self, tail: bytes) -> int:
        """How many bytes at the end may be the beginning of a value."""
        longest = 0
        for pattern in self._patterns:
            at = tail.find(pattern[:1], max(0, len(tail) - len(pattern) + 1))
            while 0 <= at < len(tail) - longest:
                if pattern.startswith(tail[at:]):
                    longest = len(tail) - at
                at = tail.find(pattern[:1], at + 1)
        return longest
