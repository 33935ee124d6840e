"""A walk through live memories by time, page by page."""

from __future__ import annotations

import re
import sqlite3

from soma_core.adapters.sqlite.rows import CURRENT, VERSION_COLUMNS, memory, micros, where
from soma_core.domain.memory import Memory
from soma_core.domain.query import BrowseQuery, Page
from soma_core.domain.validation import invalid


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


def _cursor(last: Memory) -> str:
    return f"{micros(last.occurred_at)}.{last.id.hex}"


def _parse_cursor(cursor: str) -> tuple[int, bytes]:
    found = re.fullmatch(r"(-?[0-9]{1,18})\.([0-9a-f]{32})", cursor)
    if not found:
        raise invalid("cursor", "must be a next_cursor from an earlier page, unchanged")
    return int(found[1]), bytes.fromhex(found[2])
