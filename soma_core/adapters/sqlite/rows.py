"""Between rows and the domain's values."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from soma_core.domain.memory import Memory, MemoryType
from soma_core.domain.query import Filter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CURRENT = "memories m JOIN versions v ON v.id = m.id AND v.version = m.version"
"""Every memory with what its latest version says."""

VERSION_COLUMNS = (
    "v.id, v.version, v.recorded_at, v.text, v.type, v.tags, v.thread, v.position, v.speaker, v.occurred_at, "
    "v.coordinate, v.importance, v.payload"
)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """The instant so many microseconds after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def memory(namespace: str, row: Sequence[Any]) -> Memory:
    """From `created_at` and then `VERSION_COLUMNS`."""
    created, key, version, recorded, text, type_, tags, thread, position, speaker, occurred = row[:11]
    coordinate, weight, payload = row[11:]
    return Memory(
        id=UUID(bytes=key),
        namespace=namespace,
        version=version,
        text=text,
        type=MemoryType(type_),
        tags=tuple(json.loads(tags)),
        thread=thread,
        position=position,
        speaker=speaker,
        occurred_at=moment(occurred),
        recorded_at=moment(recorded),
        created_at=moment(created),
        coordinate=coordinate,
        importance=weight,
        payload=json.loads(payload),
    )


def compact(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
