"""What a projection is: a table, and named statements that turn ranges of events into its rows.

One ``.sql`` file beside one ``.py`` file per noun. Its statements:

- ``table`` makes the table ``{table}``; ``indexes`` makes its key and what its readers need, which a rebuild does when
  the rows are in (so a noun whose statements update must have its key in ``table``); ``search`` (optional) makes
  indexes that only make reading faster and cost much to build, which a rebuild does after the switch.
- every other one applies events. It reads them from ``{events}`` (all columns of ``evt_events``, and ``data`` out of
  its content; each stream in order) and runs when an event of its types is among them. Statements run in the order in
  which the projection lists them.

So one batch may hold a whole life of an entity. A noun with states keeps to two statements: one inserts what was
created; one folds everything after that (``distinct on (entity_id) ... order by entity_id, stream_seq desc`` for what
the last event decides, ``min``/``max`` with ``filter`` for first and last times) and updates. All events of an entity
are in one stream, and a batch holds a gapless run of it, so the last event in the batch is the newest there is.

A statement must depend on the events alone: no clock, no randomness, no other table of the projector than its own. It
need not fear being run twice for an event: if ever checkpoints and rows disagreed, a key that exists already should
stop the stream, and a rebuild mend it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agentos_shared.store import statements

#: Ranges $1..$4 as rows of events. The inner order keeps the planner from replacing the index scans by one of it all.
EVENTS: Final = """unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) as r(stream_type, stream_id, after, upto)
cross join lateral (
    select *, content::jsonb -> 'data' as data from evt_events
    where stream_type = r.stream_type and stream_id = r.stream_id and stream_seq > r.after and stream_seq <= r.upto
    order by stream_seq
) e"""
_COMMENT: Final = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Projection:
    """One read model.

    Args:
        table: its name, with the prefix ``proj_``.
        sql: its statements by name, from the ``.sql`` file.
        applies: which statement handles which event types, in the order in which they run.
    """

    table: str
    sql: Mapping[str, str] = field(repr=False)
    applies: Mapping[str, frozenset[str]]

    def ddl(self, name: str, suffix: str = "") -> str:
        """``table`` or ``indexes``, for the live table or one with a suffix."""
        return self.sql[name].replace("{table}", self.table + suffix)

    def search_indexes(self) -> list[str]:
        """The statements of ``search``, each by itself: an index that is built concurrently allows no transaction."""
        text = _COMMENT.sub("", self.sql.get("search", "")).replace("{table}", self.table)
        return [statement.strip() for statement in text.split(";") if statement.strip()]

    def steps(self, suffix: str = "") -> list[tuple[frozenset[str], str]]:
        """The statements that apply events, in order, each with its types; the ranges are their four parameters."""
        return [
            (types, self.sql[name].replace("{table}", self.table + suffix).replace("{events}", EVENTS))
            for name, types in self.applies.items()
        ]


def load(table: str, file: str, applies: Mapping[str, set[str]]) -> Projection:
    """A projection of this package. Raises KeyError when the file lacks a statement that it names."""
    sql = statements.load("agentos_projector.projections", file)
    for name in ("table", "indexes", *applies):
        _ = sql[name]
    return Projection(table, sql, {name: frozenset(types) for name, types in applies.items()})


def fingerprint(projections: Sequence[Projection]) -> str:
    """Changes with the definition of any projection, comments and white space aside: then the tables are rebuilt."""
    parts: list[str] = []
    for projection in projections:
        parts.append(projection.table)
        for name, text in sorted(projection.sql.items()):
            parts += [
                name,
                ",".join(sorted(projection.applies.get(name, ()))),
                " ".join(_COMMENT.sub("", text).split()),
            ]
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
