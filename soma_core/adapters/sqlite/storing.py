"""Storing what many callers bring: a few statements for all of them.

Python's sqlite3 gives up the interpreter lock at every step of every statement, and in a busy process waits each time
to get it back; so new memories are inserted many rows a statement.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from soma_core.adapters.sqlite.changes import VERSION, head_row, last_position, store_one, version_row
from soma_core.adapters.sqlite.rows import by_pairs
from soma_core.adapters.values import compact, micros
from soma_core.domain.errors import Conflict, SomaError
from soma_core.domain.events import EventKind
from soma_core.domain.memory import NewMemory, new_id
from soma_core.domain.receipts import Change, StoreStatus
from soma_core.ports.records import Request, Submission

ROWS = 64
"""The most rows a statement inserts; their numbers are powers of two, so that statements are used again."""

Outcome = list[Change] | SomaError
Rows = list[tuple[Any, ...]]

HEADS = "memories", 16
VERSIONS = f"versions ({VERSION})", 14
TAGS = "memory_tags", 3
EVENTS = "events (namespace, id, version, kind, time)", 5
REQUESTS = "requests", 5


def store_all(db: sqlite3.Connection, submissions: Sequence[Submission], now: datetime) -> list[Outcome]:
    """Store the submissions in the order given; each stands or falls alone."""
    outcomes: list[Outcome] = []
    run: dict[str, Submission] = {}
    for submission in submissions:
        if submission.request.id in run or any(new.coordinate is not None for new in submission.memories):
            outcomes += _store_new(db, run.values(), now)
            outcomes.append(_store_alone(db, submission, now))
            run = {}
        else:
            run[submission.request.id] = submission
    return outcomes + _store_new(db, run.values(), now)


def _store_alone(db: sqlite3.Connection, submission: Submission, now: datetime) -> Outcome:
    """Store one submission, memory by memory: at its coordinate one may have a memory already."""
    try:
        if (receipt := earlier_receipt(db, submission.namespace, submission.request)) is not None:
            return _changes(receipt)
    except Conflict as error:
        return error
    changes = [store_one(db, submission.namespace, new, now) for new in submission.memories]
    insert(db, REQUESTS, [request_row(submission, changes, now)])
    return changes


def _store_new(db: sqlite3.Connection, submissions: Collection[Submission], now: datetime) -> list[Outcome]:
    """Store submissions none of whose memories has a coordinate: all are new."""
    known = _known(db, submissions)
    outcomes: list[Outcome] = []
    heads, versions, tags, events, requests = Rows(), Rows(), Rows(), Rows(), Rows()
    positions: dict[tuple[str, str], int] = {}
    for submission in submissions:
        found = known.get((submission.namespace, submission.request.id))
        if found is not None:
            outcomes.append(_again(found, submission.request))
            continue
        changes = []
        for new in submission.memories:
            key = new_id(submission.namespace, None)
            position = _next_position(db, submission.namespace, new, positions)
            heads.append(head_row(submission.namespace, key, new, position, now))
            versions.append(version_row(key, 1, EventKind.STORED, new, position, now))
            tags += [(submission.namespace, tag, key.bytes) for tag in new.tags]
            events.append((submission.namespace, key.bytes, 1, EventKind.STORED, micros(now)))
            changes.append(Change(key, 1, StoreStatus.CREATED))
        requests.append(request_row(submission, changes, now))
        outcomes.append(changes)
    for table, rows in ((HEADS, heads), (VERSIONS, versions), (TAGS, tags), (EVENTS, events), (REQUESTS, requests)):
        insert(db, table, rows)
    return outcomes


def _next_position(
    db: sqlite3.Connection, namespace: str, new: NewMemory, positions: dict[tuple[str, str], int]
) -> int | None:
    if new.thread is None:
        return None
    place = namespace, new.thread
    positions[place] = (positions[place] if place in positions else last_position(db, *place)) + 1
    return positions[place]


def insert(db: sqlite3.Connection, table: tuple[str, int], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows into a table of so many columns."""
    start = 0
    while start < len(rows):
        size = min(ROWS, 1 << (len(rows) - start).bit_length() - 1)
        values = [value for row in rows[start : start + size] for value in row]
        db.execute(_insertion(*table, size), values)
        start += size


@cache
def _insertion(table: str, columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {','.join([row] * rows)}"


def _known(db: sqlite3.Connection, submissions: Iterable[Submission]) -> dict[tuple[str, str], tuple[str, str]]:
    """Digest and receipt of each request that was answered before."""
    statement = (
        "WITH wanted (namespace, id) AS (VALUES @pairs) SELECT r.namespace, r.id, r.digest, r.receipt FROM wanted w "
        "CROSS JOIN requests r ON r.namespace = w.namespace AND r.id = w.id"
    )
    rows = by_pairs(db, statement, [(submission.namespace, submission.request.id) for submission in submissions])
    return {(namespace, key): (digest, receipt) for namespace, key, digest, receipt in rows}


def earlier_receipt(db: sqlite3.Connection, namespace: str, request: Request) -> Any | None:
    """The receipt of a request that was answered before. Raises `Conflict`."""
    row = db.execute(
        "SELECT digest, receipt FROM requests WHERE namespace = ? AND id = ?", (namespace, request.id)
    ).fetchone()
    if row is None:
        return None
    if row[0] != request.digest:
        raise _conflict()
    return json.loads(row[1])


def request_row(submission: Submission, changes: Sequence[Change], now: datetime) -> tuple[Any, ...]:
    """A request and the receipt it is answered with from now on."""
    receipt = [(str(change.id), change.version, change.status) for change in changes]
    return submission.namespace, submission.request.id, submission.request.digest, compact(receipt), micros(now)


def _again(found: tuple[str, str], request: Request) -> Outcome:
    digest, receipt = found
    return _changes(json.loads(receipt)) if digest == request.digest else _conflict()


def _changes(receipt: Sequence[tuple[str, int, str]]) -> list[Change]:
    return [Change(UUID(key), version, StoreStatus(status)) for key, version, status in receipt]


def _conflict() -> Conflict:
    return Conflict("key: was used for another request with other arguments; use a new key", fields=("key",))
