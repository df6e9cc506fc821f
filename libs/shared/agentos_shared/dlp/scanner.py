"""The scanner: six rules over every text (and key) of an event's data.

All of the data is scanned and every find replaced; only the report is cut, after :data:`MAX_MATCHES`. Each expression
is linear in its text: no nested or adjacent repetition that could match the same characters.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

SCANNER_VERSION: Final = "dlp_v1"
REDACTED: Final = "[redacted]"
MAX_MATCHES: Final = 20
_EDGE: Final = 4

#: No text matches a rule without holding one of these; looking for them costs about a microsecond.
_HINT: Final = re.compile(rb"sk-|gh[pousr]_|github_pat_|AKIA|ASIA|earer|EARER|engtok_|agcap_").search


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
        matches: the first :data:`MAX_MATCHES` finds, rule by rule within each text.
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


def _always(_found: str) -> bool:
    return True


def _is_bearer(found: str) -> bool:
    # "Bearer authentication" is prose: a token has a digit, mixed case inside, or is long.
    token = found.split()[-1]
    rest = token[1:]
    return len(token) >= 20 or any(c.isdigit() for c in token) or (rest.lower() != rest and rest.upper() != rest)


@dataclass(frozen=True, slots=True)
class _Rule:
    id: str
    pattern: re.Pattern[str]
    is_secret: Callable[[str], bool] = _always


# Each begins with plain letters, which the engine looks for quickly; what must not stand before them is checked after.
_RULES: Final = (
    _Rule(
        "openai_api_key",
        re.compile(r"sk-(?<![A-Za-z0-9]sk-)(?:[A-Za-z0-9]{20,}|(?:proj|svcacct|admin|ant)-[A-Za-z0-9_-]{20,})"),
    ),
    _Rule("github_pat", re.compile(r"g(?<![A-Za-z0-9]g)(?:h[pousr]_[A-Za-z0-9]{20,}|ithub_pat_[A-Za-z0-9_]{20,})")),
    _Rule("aws_access_key_id", re.compile(r"A(?<![A-Za-z0-9]A)[KS]IA[0-9A-Z]{16}(?![A-Za-z0-9])")),
    # Longer than a token's id (32 hexadecimal digits), which is no secret.
    _Rule("engine_token", re.compile(r"engtok_(?<![A-Za-z0-9]engtok_)[A-Za-z0-9_-]{43,}")),
    _Rule("capability_token", re.compile(r"agcap_(?<![A-Za-z0-9]agcap_)[A-Za-z0-9_-]{43,}")),
    _Rule(
        "bearer_token",
        re.compile(r"(?:[Bb]earer|BEARER)(?<![A-Za-z0-9].{6})\s{1,8}[A-Za-z0-9._~+/-]{8,}={0,2}"),
        _is_bearer,
    ),
)


@dataclass(slots=True)
class _Finds:
    matches: list[Match] = field(default_factory=list)
    count: int = 0

    def replace(self, text: str) -> str:
        return _substitute(text, self._note)

    def _note(self, rule_id: str, found: str) -> None:
        self.count += 1
        if len(self.matches) < MAX_MATCHES:
            self.matches.append(Match(rule_id, _preview(found)))

    def walk(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.replace(value)
        if isinstance(value, Mapping):
            replaced: dict[str, Any] = {}
            for key, member in value.items():
                name = self.replace(key)
                if name != key:
                    name = _free(name, value, replaced)
                replaced[name] = self.walk(member)
            return replaced
        if isinstance(value, (list, tuple)):
            return [self.walk(member) for member in value]
        return value


def _free(name: str, *taken: Mapping[str, Any]) -> str:
    """The name, numbered where it is taken: no member may vanish."""
    free, ordinal = name, 2
    while any(free in names for names in taken):
        free, ordinal = f"{name}{ordinal}", ordinal + 1
    return free


def _preview(found: str) -> str:
    if len(found) <= 2 * _EDGE:
        return "*" * len(found)
    return f"{found[:_EDGE]}...{found[-_EDGE:]}"


def suspicious(raw: bytes) -> bool:
    """False when JSON text, written by orjson or canonically, cannot hold a find. Costs about a microsecond."""
    return _HINT(raw) is not None


def scan(data: Mapping[str, Any], raw: bytes | None = None) -> Scan:
    """Find secrets in an event's data.

    Args:
        data: a JSON object.
        raw: JSON bytes that contain it (written by orjson or canonically), where the caller has them already.
    """
    if not suspicious(orjson.dumps(data) if raw is None else raw):
        return Scan(data)
    finds = _Finds()
    replaced = finds.walk(data)
    if not finds.count:
        return Scan(data)
    return Scan(replaced, tuple(finds.matches), finds.count)


def redact_text(text: str) -> str:
    """A plain text with each find replaced, for logs."""
    return _substitute(text, lambda _rule_id, _found: None)


def _substitute(text: str, note: Callable[[str, str], None]) -> str:
    for rule in _RULES:
        text = _substitute_rule(rule, text, note)
    return text


def _substitute_rule(rule: _Rule, text: str, note: Callable[[str, str], None]) -> str:
    def replacement(match: re.Match[str]) -> str:
        found = match.group()
        if not rule.is_secret(found):
            return found
        note(rule.id, found)
        return REDACTED

    return rule.pattern.sub(replacement, text)
