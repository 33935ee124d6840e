"""Looking through live memories: by time page by page, by coordinate, by what they hold as it is written."""

from __future__ import annotations

import re
import sqlite3
from itertools import islice

from soma_core.adapters.sqlite.rows import CURRENT, VERSION_COLUMNS, memory, where
from soma_core.adapters.values import micros
from soma_core.domain.memory import Memory, numbers
from soma_core.domain.query import BrowseQuery, Filter, Page
from soma_core.domain.terms import Terms
from soma_core.domain.validation import invalid

FOLDED_TO_ASCII = "\u00df\u0130\u0149\u017f\u01f0\u1e96\u1e97\u1e98\u1e99\u1e9a\u1e9e\u212a\ufb00-\ufb06"
"""Characters that are, without their case, or hold ASCII letters, such as the sharp s."""
ROUNDING = 1e-12
"""SQLite reads the last digit of some numbers otherwise than Python, which decides."""


def browse(db: sqlite3.Connection, namespace: str, query: BrowseQuery) -> Page:
    """One page and the cursor of the next; a memory stored meanwhile never makes another appear twice."""
    terms, values = where(namespace, query.filter)
    newest = query.order == "newest"
    if query.cursor is not None:
        terms += f" AND (m.occurred_at, m.id) {'<' if newest else '>'} (?, ?)"
        values += _parse_cursor(query.cursor)
    direction = "DESC" if newest else "ASC"
    rows = db.execute(
        f"SELECT m.created_at, {VERSION_COLUMNS} FROM {CURRENT} "
        f"WHERE m.state = 'live' AND {terms} ORDER BY m.occurred_at {direction}, m.id {direction} LIMIT ?",
        [*values, query.limit + 1],
    ).fetchall()
    memories = [memory(namespace, row) for row in rows[: query.limit]]
    return Page(memories, _cursor(memories[-1]) if len(rows) > query.limit else None)


def within(
    db: sqlite3.Connection, namespace: str, box: tuple[list[float], list[float]], wanted: Filter, limit: int
) -> list[Memory]:
    """The memories whose coordinate lies in the box; the index finds them by the first number."""
    terms, values = where(namespace, wanted)
    low, high = box[0][0], box[1][0]
    rows = db.execute(
        f"SELECT m.created_at, {VERSION_COLUMNS} FROM {CURRENT} WHERE m.state = 'live' AND m.coordinate IS NOT NULL "
        f"AND CAST(m.coordinate AS REAL) BETWEEN ? AND ? AND {terms} ORDER BY CAST(m.coordinate AS REAL), m.id",
        [low - abs(low) * ROUNDING, high + abs(high) * ROUNDING, *values],
    )
    found = (memory(namespace, row) for row in rows)
    return list(islice((each for each in found if _inside(each, *box)), limit))


def _inside(found: Memory, low: list[float], high: list[float]) -> bool:
    place = numbers(found.coordinate or "")
    return len(place) == len(low) and all(a <= n <= b for a, n, b in zip(low, place, high, strict=True))


def containing(db: sqlite3.Connection, namespace: str, terms: Terms, wanted: Filter, limit: int) -> list[Memory]:
    """The memories whose text holds every term; SQLite passes over the texts that cannot."""
    conditions, values = where(namespace, wanted)
    for term in terms.values:
        if terms.case_sensitive:
            conditions += " AND instr(v.text, ?)"
            values.append(term)
        elif term.isascii():  # SQLite knows the case of ASCII only
            conditions += f" AND (instr(lower(v.text), lower(?)) OR v.text GLOB '*[{FOLDED_TO_ASCII}]*')"
            values.append(term)
    rows = db.execute(
        f"SELECT m.created_at, {VERSION_COLUMNS} FROM {CURRENT} WHERE m.state = 'live' AND {conditions} "
        "ORDER BY m.occurred_at DESC, m.id DESC",
        values,
    )
    found = (memory(namespace, row) for row in rows)
    return list(islice((each for each in found if terms.share(each.text) == 1), limit))


def _cursor(last: Memory) -> str:
    return f"{micros(last.occurred_at)}.{last.id.hex}"


def _parse_cursor(cursor: str) -> tuple[int, bytes]:
    found = re.fullmatch(r"(-?[0-9]{1,18})\.([0-9a-f]{32})", cursor)
    if not found:
        raise invalid("cursor", "must be a next_cursor from an earlier page, unchanged")
    return int(found[1]), bytes.fromhex(found[2])
