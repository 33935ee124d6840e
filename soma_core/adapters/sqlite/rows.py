"""Between rows and the domain's values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from soma_core.adapters.values import memory_of, micros
from soma_core.domain.memory import Memory
from soma_core.domain.query import Filter

CURRENT = "memories m JOIN versions v ON v.id = m.id AND v.version = m.version"
"""Every memory with what its latest version says."""

VERSION_COLUMNS = (
    "v.id, v.version, v.recorded_at, v.text, v.type, v.tags, v.thread, v.position, v.speaker, v.occurred_at, "
    "v.coordinate, v.importance, v.payload"
)


def memory(namespace: str, row: Sequence[Any]) -> Memory:
    """From `created_at` and then `VERSION_COLUMNS`."""
    return memory_of(namespace, UUID(bytes=row[1]), row)


def where(namespace: str, wanted: Filter) -> tuple[str, list[Any]]:
    """The filter as SQL over `memories m`, without the state."""
    terms: list[str] = ["m.namespace = ?"]
    values: list[Any] = [namespace]
    if wanted.types:
        terms.append(f"m.type IN ({','.join('?' * len(wanted.types))})")
        values += [t.value for t in wanted.types]
    for tag in wanted.tags:
        terms.append("m.id IN (SELECT id FROM memory_tags WHERE namespace = ? AND tag = ?)")
        values += [namespace, tag]
    simple: list[tuple[str, Any]] = [
        ("m.thread = ?", wanted.thread),
        ("m.speaker = ?", wanted.speaker),
        ("m.occurred_at >= ?", micros(wanted.since) if wanted.since else None),
        ("m.occurred_at < ?", micros(wanted.until) if wanted.until else None),
    ]
    for term, value in simple:
        if value is not None:
            terms.append(term)
            values.append(value)
    return " AND ".join(terms), values


def by_pairs(db: sqlite3.Connection, statement: str, pairs: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, ...]]:
    """Run a statement with ``(VALUES @pairs)`` for many pairs; the counts are rounded up likewise."""
    for start in range(0, len(pairs), 64):
        chunk = list(pairs[start : start + 64])
        size = 1 << (len(chunk) - 1).bit_length()
        chunk += chunk[-1:] * (size - len(chunk))
        marks = ",".join(["(?,?)"] * size)
        yield from db.execute(statement.replace("@pairs", marks), [value for pair in chunk for value in pair])


def by_ids(db: sqlite3.Connection, statement: str, ids: Iterable[UUID]) -> Iterator[tuple[Any, ...]]:
    """Run a statement with ``IN (@ids)`` for many ids; the counts are rounded up so that statements are reused."""
    return by_keys(db, statement, [key.bytes for key in ids])


def by_keys(db: sqlite3.Connection, statement: str, keys: Sequence[bytes], *values: Any) -> Iterator[tuple[Any, ...]]:
    """As `by_ids`, for the bytes of the ids; `values` are for what the statement asks after them."""
    for start in range(0, len(keys), 512):
        chunk = list(keys[start : start + 512])
        size = 1 << (len(chunk) - 1).bit_length() if len(chunk) <= 32 else -(-len(chunk) // 32) * 32
        chunk += chunk[-1:] * (size - len(chunk))
        yield from db.execute(statement.replace("@ids", ",".join("?" * size)), [*chunk, *values])
