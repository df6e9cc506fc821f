"""The detector: where in some bytes secrets stand.

One pass of an Aho-Corasick automaton over all keywords (in their encoded forms too) says which rules and which decoders
have something to look at; in most texts none has. Only those rules run.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from ahocorasick_rs import BytesAhoCorasick, Implementation

from agentos_shared.dlp.borders import Borders, Kind
from agentos_shared.dlp.encoded import GZIP, MAX_DECODED, Decode, gunzip, variants
from agentos_shared.dlp.rules import OWN, Rule, catalogue

#: Forms inside forms are followed this deep.
MAX_DEPTH: Final = 3
#: Encoded runs that are decoded in one text; behind them the rest is only looked at as it stands.
MAX_RUNS: Final = 64


#: (pattern, start, end) of all keywords in some bytes, overlapping or not.
Search: TypeAlias = Callable[[bytes, bool], list[tuple[int, int, int]]]


class Find(NamedTuple):
    """A secret in some bytes: ``raw[start:end]``."""

    rule_id: str
    start: int
    end: int


class Detector:
    """Finds what the rules describe. Safe for threads.

    Args:
        rules: earlier ones give their id to what several find.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._form = Implementation.DFA
        exact: dict[bytes, set[int]] = {}
        loose: dict[bytes, set[int]] = {}
        decoders: dict[bytes, Decode] = {GZIP: gunzip}
        self._tokens: set[bytes] = set()
        for number, rule in enumerate(rules):
            for keyword in rule.keywords:
                (loose if rule.any_case else exact).setdefault(keyword, set()).add(number)
                if rule.token:
                    self._tokens.add(keyword)
                    decoders.update((variant.text, variant.decode) for variant in variants(keyword))
        decoders.update(
            (variant.text, variant.decode) for variant in variants(GZIP, MAX_DECODED) if variant.text[:1] != b"%"
        )
        self._exact, self._exact_rules = list(exact) + [text for text in decoders if text not in exact], exact
        self._loose = list(loose)
        self._loose_rules = loose
        self._decoders = decoders

    def light(self) -> "Detector":
        """The same in a third of the memory (5 MB) and at half the speed: for logs, of which there are few."""
        twin = copy(self)
        twin._form = Implementation.ContiguousNFA
        return twin

    # Made at the first use, so that a process has only the ones that it needs.

    @cached_property
    def _find_exact(self) -> Search:
        return BytesAhoCorasick(self._exact, implementation=self._form).find_matches_as_indexes

    @cached_property
    def _find_loose(self) -> Search:
        return BytesAhoCorasick(self._loose, implementation=self._form).find_matches_as_indexes

    def suspicious(self, raw: bytes) -> bool:
        """False where JSON text holds no find, nor the beginning of one that is split. Costs a microsecond or two."""
        exact = self._find_exact(raw, True)
        if not exact and not self._find_loose(raw.lower(), True):
            return False
        return any(self._exact[hit[0]] in self._tokens for hit in exact) or bool(self.find(raw))

    def find(self, raw: bytes, depth: int = 0) -> list[Find]:
        """The secrets in the bytes, in order, none overlapping. What is encoded is found as the whole encoded run."""
        exact = self._find_exact(raw, True)
        loose = self._find_loose(raw.lower(), True)
        if not exact and not loose:
            return []
        numbers: set[int] = set()
        for pattern in {hit[0] for hit in exact}:
            numbers |= self._exact_rules.get(self._exact[pattern], set())
        for pattern in {hit[0] for hit in loose}:
            numbers |= self._loose_rules[self._loose[pattern]]
        finds = [
            (number, Find(self._rules[number].id, start, end))
            for number in numbers
            for start, end in self._rules[number].spans(raw)
        ]
        if depth < MAX_DEPTH:
            finds += self._decoded(raw, exact, depth)
        return merged(finds)

    @cached_property
    def borders(self) -> Borders:
        """Where a text that goes on may be cut."""
        return Borders([(text, self._kind(text)) for text in self._exact], [(text, "line") for text in self._loose])

    def _kind(self, text: bytes) -> Kind:
        if text == b"-----BEGIN":
            return "pem"
        if text == GZIP:
            return "member"
        return "token" if text in self._tokens or text in self._decoders else "line"

    def _decoded(self, raw: bytes, hits: Iterable[tuple[int, int, int]], depth: int) -> list[tuple[int, Find]]:
        finds: list[tuple[int, Find]] = []
        runs, seen = 0, -1
        for pattern, start, _ in hits:
            decode = self._decoders.get(self._exact[pattern])
            if decode is None or start < seen:
                continue
            run = decode(raw, start)
            runs += 1
            inner = self.find(run.decoded, depth + 1) if run is not None else []
            if run is not None and inner:
                seen = run.end
                finds.append((-1, Find(inner[0].rule_id, run.start, run.end)))
            if runs == MAX_RUNS:
                break
        return finds


def merged(finds: Iterable[tuple[int, Find]]) -> list[Find]:
    """Finds without overlaps: those that overlap are one, named by the rule with the lowest number."""
    kept: list[tuple[int, Find]] = []
    for number, find in sorted(finds, key=lambda entry: (entry[1].start, entry[0])):
        if not kept or find.start >= kept[-1][1].end:
            kept.append((number, find))
            continue
        before, last = kept[-1]
        rule_id = find.rule_id if number < before else last.rule_id
        kept[-1] = min(number, before), Find(rule_id, last.start, max(last.end, find.end))
    return [find for _, find in kept]


DETECTOR: Final = Detector((*OWN, *catalogue()))
LIGHT: Final = DETECTOR.light()
