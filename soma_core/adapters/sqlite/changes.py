"""The changes of a memory as statements; each runs inside a transaction of the caller's."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from soma_core.adapters.sqlite.rows import CURRENT, VERSION_COLUMNS, memory
from soma_core.adapters.values import compact, micros
from soma_core.domain.events import EventKind
from soma_core.domain.memory import Memory, NewMemory, State, count_words, is_question, is_standing, new_id
from soma_core.domain.receipts import Change, StoreStatus

VERSION = (
    "id, version, kind, recorded_at, text, type, tags, thread, position, speaker, occurred_at, coordinate, "
    "importance, payload"
)
"""The columns of `version_row`."""
INSERT_VERSION = f"INSERT INTO versions ({VERSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class _Standing:
    version: int
    state: State
    created_at: int
    thread: str | None
    position: int | None


def store_one(db: sqlite3.Connection, namespace: str, new: NewMemory, now: datetime) -> Change:
    """Write a memory, or the next version of the one at its coordinate."""
    memory_id = new_id(namespace, new.coordinate)
    before = _standing(db, memory_id) if new.coordinate is not None else None
    live = before is not None and before.state is State.LIVE
    if live and current(db, namespace, memory_id).says_the_same(new):
        assert before is not None
        return Change(memory_id, before.version, StoreStatus.UNCHANGED)
    version = before.version + 1 if before else 1
    kind = EventKind.REVISED if live else EventKind.STORED
    position = _position(db, namespace, new.thread, before)
    if before is None:
        row = head_row(namespace, memory_id, new, position, now)
        db.execute(f"INSERT INTO memories VALUES ({','.join('?' * len(row))})", row)
    else:
        _delete_tags(db, namespace, memory_id)
        _update_head(db, memory_id, version, new, position, now)
    db.execute(INSERT_VERSION, version_row(memory_id, version, kind, new, position, now))
    if new.tags:
        rows = [(namespace, tag, memory_id.bytes) for tag in new.tags]
        db.executemany("INSERT OR IGNORE INTO memory_tags VALUES (?, ?, ?)", rows)
    record_event(db, namespace, memory_id, version, kind, now)
    return Change(memory_id, version, StoreStatus.REVISED if live else StoreStatus.CREATED)


def forget_one(db: sqlite3.Connection, namespace: str, memory_id: UUID, *, now: datetime, reason: str | None) -> None:
    """Put a live memory out of reach: a tombstone is its next version, all earlier ones are hidden."""
    version = _next_version(db, memory_id, State.FORGOTTEN, now)
    db.execute("UPDATE versions SET hidden = 1 WHERE id = ?", (memory_id.bytes,))
    db.execute(
        "INSERT INTO versions (id, version, kind, recorded_at, hidden, reason) VALUES (?, ?, ?, ?, 1, ?)",
        (memory_id.bytes, version, EventKind.FORGOTTEN, micros(now), reason),
    )
    record_event(db, namespace, memory_id, version, EventKind.FORGOTTEN, now)


def purge_one(db: sqlite3.Connection, namespace: str, memory_id: UUID, *, now: datetime) -> None:
    """Remove all that a memory said; its id, last version and times stay."""
    version = _next_version(db, memory_id, State.PURGED, now)
    _delete_tags(db, namespace, memory_id)
    db.execute("DELETE FROM versions WHERE id = ?", (memory_id.bytes,))
    db.execute(
        "UPDATE memories SET type = NULL, thread = NULL, position = NULL, speaker = NULL, occurred_at = NULL, "
        "coordinate = NULL, words = NULL, question = NULL, importance = NULL, "
        "standing = NULL WHERE id = ?",
        (memory_id.bytes,),
    )
    record_event(db, namespace, memory_id, version, EventKind.PURGED, now)


def record_event(
    db: sqlite3.Connection, namespace: str, memory_id: UUID, version: int, kind: EventKind, now: datetime
) -> None:
    db.execute(
        "INSERT INTO events (namespace, id, version, kind, time) VALUES (?, ?, ?, ?, ?)",
        (namespace, memory_id.bytes, version, kind, micros(now)),
    )


def current(db: sqlite3.Connection, namespace: str, memory_id: UUID) -> Memory:
    """The current version of a live memory."""
    row = db.execute(
        f"SELECT m.created_at, {VERSION_COLUMNS} FROM {CURRENT} WHERE m.id = ?",
        (memory_id.bytes,),
    ).fetchone()
    return memory(namespace, row)


def _standing(db: sqlite3.Connection, memory_id: UUID) -> _Standing | None:
    row = db.execute(
        "SELECT version, state, created_at, thread, position FROM memories WHERE id = ?", (memory_id.bytes,)
    ).fetchone()
    return _Standing(row[0], State(row[1]), *row[2:]) if row else None


def _position(db: sqlite3.Connection, namespace: str, thread: str | None, before: _Standing | None) -> int | None:
    """The place kept within the same thread, else the one after the thread's last."""
    if thread is None:
        return None
    if before and before.thread == thread:
        return before.position
    return last_position(db, namespace, thread) + 1


def last_position(db: sqlite3.Connection, namespace: str, thread: str) -> int:
    """The place of a thread's last memory; -1 for a new thread."""
    last: int | None = db.execute(
        "SELECT max(position) FROM memories WHERE namespace = ? AND thread = ?", (namespace, thread)
    ).fetchone()[0]
    return -1 if last is None else last


def _features(new: NewMemory, position: int | None, now: datetime) -> tuple[Any, ...]:
    occurred = micros(new.occurred_at or now)
    said = count_words(new.text), int(is_question(new.text)), new.importance, int(is_standing(new.text))
    return new.type.value, new.thread, position, new.speaker, occurred, new.coordinate, *said


def head_row(namespace: str, memory_id: UUID, new: NewMemory, position: int | None, now: datetime) -> tuple[Any, ...]:
    """The row in `memories` of a new memory."""
    stamp = micros(now)
    return memory_id.bytes, namespace, 1, State.LIVE, stamp, stamp, *_features(new, position, now)


def _update_head(
    db: sqlite3.Connection, memory_id: UUID, version: int, new: NewMemory, position: int | None, now: datetime
) -> None:
    db.execute(
        "UPDATE memories SET version = ?, state = 'live', changed_at = ?, type = ?, thread = ?, position = ?, "
        "speaker = ?, occurred_at = ?, coordinate = ?, words = ?, question = ?, importance = ?, standing = ? "
        "WHERE id = ?",
        (version, micros(now), *_features(new, position, now), memory_id.bytes),
    )


def version_row(
    memory_id: UUID, version: int, kind: EventKind, new: NewMemory, position: int | None, now: datetime
) -> tuple[Any, ...]:
    """The row in `versions` of what a memory says now."""
    return (
        memory_id.bytes,
        version,
        kind,
        micros(now),
        new.text,
        new.type.value,
        compact(new.tags),
        new.thread,
        position,
        new.speaker,
        micros(new.occurred_at or now),
        new.coordinate,
        new.importance,
        compact(new.payload),
    )


def _next_version(db: sqlite3.Connection, memory_id: UUID, state: State, now: datetime) -> int:
    db.execute(
        "UPDATE memories SET version = version + 1, state = ?, changed_at = ? WHERE id = ?",
        (state, micros(now), memory_id.bytes),
    )
    version: int = db.execute("SELECT version FROM memories WHERE id = ?", (memory_id.bytes,)).fetchone()[0]
    return version


def _delete_tags(db: sqlite3.Connection, namespace: str, memory_id: UUID) -> None:
    """Tags are rows of the memory's latest version that said anything."""
    row = db.execute(
        "SELECT tags FROM versions WHERE id = ? AND tags IS NOT NULL ORDER BY version DESC LIMIT 1", (memory_id.bytes,)
    ).fetchone()
    rows = [(namespace, tag, memory_id.bytes) for tag in json.loads(row[0])] if row else []
    db.executemany("DELETE FROM memory_tags WHERE namespace = ? AND tag = ? AND id = ?", rows)
