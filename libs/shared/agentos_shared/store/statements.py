"""Named SQL: ``-- name: x`` starts a statement in a ``.sql`` file, and its next comment lines tell its purpose."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


@cache
def load(package: str, file: str) -> dict[str, str]:
    """Statements of one ``.sql`` file, by name.

    Raises:
        ValueError: two statements share a name, or text stands before the first name.
    """
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    before, *parts = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"{package}/{file}: text before the first '-- name:'")
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{package}/{file}: the name {name} stands twice")
        statements[name] = body.strip()
    return statements
