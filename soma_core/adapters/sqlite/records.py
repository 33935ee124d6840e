"""RecordStore and EventLog on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

from soma_core.adapters.sqlite.browsing import browse, containing, within
from soma_core.adapters.sqlite.changes import forget_one, purge_one
from soma_core.adapters.sqlite.database import Database
from soma_core.adapters.sqlite.ranking import features, speakers
from soma_core.adapters.sqlite.rows import CURRENT, VERSION_COLUMNS, by_ids, by_keys, by_pairs, memory, where
from soma_core.adapters.sqlite.storing import REQUESTS, earlier_receipt, insert, store_all
from soma_core.adapters.sqlite.tokens import SqliteTokenStore
from soma_core.adapters.values import compact, micros, moment
from soma_core.domain.candidates import Features
from soma_core.domain.errors import SomaError
from soma_core.domain.events import Event, EventKind
from soma_core.domain.generations import Generations
from soma_core.domain.memory import Memory, MemoryType, State, numbers
from soma_core.domain.query import BrowseQuery, Filter, Page, Selection
from soma_core.domain.receipts import Change, Forgotten
from soma_core.domain.terms import Terms
from soma_core.domain.validation import invalid
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.records import Counts, Head, Request, Submission, Versioned

ERASE_DUE = "erase due"
"""Each purge sets another value."""
ERASE_AT_ONCE_BYTES = 32 << 20
"""A purge rewrites a file up to this size before it is answered (some 0.2 s)."""
LISTED_IDS = 1_000
"""A receipt names at most this many ids; its count is always whole."""


class SqliteRecordStore:
    """The records of one data folder in one file; the events are its outbox and its audit."""

    def __init__(self, path: Path, *, reserve_bytes: int, clock: Clock = system_clock) -> None:
        self._database = Database(path, reserve_bytes=reserve_bytes)
        self._clock = clock
        self._store_id = self._meta("store_id") or ""

    def store(self, submissions: Sequence[Submission]) -> list[list[Change] | SomaError]:
        return self._database.write(lambda db: store_all(db, submissions, self._clock()))

    def forget(
        self, namespace: str, selection: Selection, request: Request, *, purge: bool, reason: str | None
    ) -> Forgotten:
        def work(db: sqlite3.Connection) -> Forgotten:
            if (receipt := earlier_receipt(db, namespace, request)) is not None:
                ids, count, missing = receipt
                return Forgotten([UUID(key) for key in ids], count, missing)
            now = self._clock()
            ids, missing = _selected(db, namespace, selection, purge)
            for memory_id in ids:
                if purge:
                    purge_one(db, namespace, memory_id, now=now)
                else:
                    forget_one(db, namespace, memory_id, now=now, reason=reason)
            if purge and ids:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (ERASE_DUE, uuid4().hex))
            listed = [str(key) for key in ids[:LISTED_IDS]]
            receipt = compact((listed, len(ids), missing))
            insert(db, REQUESTS, [(namespace, request.id, request.digest, receipt, micros(now))])
            return Forgotten(ids[:LISTED_IDS], len(ids), missing)

        return self._database.write(work, reserve=False)

    def select(self, namespace: str, selection: Selection, *, purge: bool) -> Forgotten:
        with self._database.reading() as db:
            ids, missing = _selected(db, namespace, selection, purge)
        return Forgotten(ids[:LISTED_IDS], len(ids), missing)

    def erase(self, *, at_once: bool) -> bool:
        due = self._meta(ERASE_DUE)
        if due is None:
            return True
        if not self._database.rewrite(up_to_bytes=ERASE_AT_ONCE_BYTES if at_once else None):
            return False
        # What was purged since the rewrite has set another mark, which stays for its own erase.
        done = "DELETE FROM meta WHERE key = ? AND value = ?"
        self._database.write(lambda db: db.execute(done, (ERASE_DUE, due)), reserve=False)
        return True

    def find(self, namespace: str, ids: Sequence[str]) -> dict[str, UUID]:
        found: dict[str, UUID] = {}
        with self._database.reading() as db:
            for given in ids:
                if len(given) == 12:
                    term, value = "substr(id, 11) = ?", bytes.fromhex(given)
                else:
                    term, value = "id = ?", UUID(given).bytes
                rows = db.execute(f"SELECT id FROM memories WHERE namespace = ? AND {term} LIMIT 3", (namespace, value))
                keys = [UUID(bytes=row[0]) for row in rows]
                if len(keys) > 1:
                    raise invalid("ids", f"{given} fits {', '.join(map(str, keys))}: give the whole id")
                if keys:
                    found[given] = keys[0]
        return found

    def heads(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Head]:
        statement = "SELECT id, version, state, namespace FROM memories WHERE id IN (@ids)"
        with self._database.reading() as db:
            return {
                UUID(bytes=key): Head(version, State(state))
                for key, version, state, owner in by_ids(db, statement, ids)
                if owner == namespace
            }

    def live_versions(self, namespace: str, ids: Collection[int]) -> dict[int, int]:
        # One row for all: at each row sqlite3 gives up the interpreter lock, and a busy server waits to get it back.
        statement = (
            "SELECT namespace, group_concat(hex(id) || version) FROM memories "
            "WHERE id IN (@ids) AND state = 'live' GROUP BY namespace"
        )
        with self._database.reading() as db:
            rows = by_keys(db, statement, [key.to_bytes(16) for key in ids])
            found = [pairs.split(",") for owner, pairs in rows if owner == namespace]
        return {int(pair[:32], 16): int(pair[32:]) for pairs in found for pair in pairs}

    def features(self, namespace: str, ids: Collection[int]) -> dict[int, Features]:
        with self._database.reading() as db:
            return features(db, namespace, ids)

    def speakers(self, namespace: str, names: Sequence[str]) -> list[str]:
        with self._database.reading() as db:
            return speakers(db, namespace, names)

    def read(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        statement = (
            f"SELECT m.namespace, m.created_at, {VERSION_COLUMNS} FROM {CURRENT} "
            "WHERE m.state = 'live' AND m.id IN (@ids)"
        )
        with self._database.reading() as db:
            found = [memory(namespace, row) for owner, *row in by_ids(db, statement, ids) if owner == namespace]
        return {item.id: item for item in found}

    def versions(self, namespace: str, keys: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], Versioned]:
        statement = (
            "WITH wanted (id, version) AS (VALUES @pairs) "
            f"SELECT m.namespace, m.version = v.version, m.created_at, {VERSION_COLUMNS} FROM wanted w "
            "CROSS JOIN versions v ON v.id = w.id AND v.version = w.version JOIN memories m ON m.id = v.id "
            "WHERE m.state = 'live' AND NOT v.hidden"
        )
        with self._database.reading() as db:
            rows = list(by_pairs(db, statement, [(key.bytes, version) for key, version in keys]))
        found = [Versioned(memory(namespace, row), bool(now)) for owner, now, *row in rows if owner == namespace]
        return {(item.memory.id, item.memory.version): item for item in found}

    def within(self, namespace: str, low: str, high: str, wanted: Filter, limit: int) -> list[Memory]:
        with self._database.reading() as db:
            return within(db, namespace, (numbers(low), numbers(high)), wanted, limit)

    def containing(self, namespace: str, terms: Terms, wanted: Filter, limit: int) -> list[Memory]:
        with self._database.reading() as db:
            return containing(db, namespace, terms, wanted, limit)

    def browse(self, namespace: str, query: BrowseQuery) -> Page:
        with self._database.reading() as db:
            return browse(db, namespace, query)

    def counts(self, namespace: str) -> Counts:
        states: dict[State, int] = dict.fromkeys(State, 0)
        types: dict[MemoryType, int] = dict.fromkeys(MemoryType, 0)
        with self._database.reading() as db:
            for state, type_, n in db.execute("SELECT state, type, n FROM counts WHERE namespace = ?", (namespace,)):
                states[State(state)] += n
                if state == State.LIVE:
                    types[MemoryType(type_)] += n
        return Counts(states, types)

    def live(self, namespace: str) -> Mapping[UUID, int]:
        with self._database.reading() as db:
            rows = db.execute("SELECT id, version FROM memories WHERE namespace = ? AND state = 'live'", (namespace,))
            return {UUID(bytes=key): version for key, version in rows}

    def generations(self) -> Generations | None:
        return Generations.parse(self._meta("generations"), self._meta("model"))

    def change_generations(self, found: Generations | None, wanted: Generations) -> bool:
        statement = (
            "INSERT INTO meta VALUES ('generations', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value "
            "WHERE value = ? RETURNING key"
        )
        values = wanted.text(), found.text() if found else None
        return bool(self._database.write(lambda db: db.execute(statement, values).fetchall(), reserve=False))

    def was_indexed(self, namespace: str) -> bool:
        return self._meta(f"indexed {namespace}") is not None

    def mark_indexed(self, namespace: str) -> None:
        self._set_meta(f"indexed {namespace}", "yes")

    @property
    def store_id(self) -> str:
        return self._store_id

    def knows(self, namespace: str, request: Request) -> bool:
        with self._database.reading() as db:
            return earlier_receipt(db, namespace, request) is not None

    def expire_requests(self, before: datetime) -> None:
        self._database.write(
            lambda db: db.execute("DELETE FROM requests WHERE time < ?", (micros(before),)), reserve=False
        )

    def problems(self) -> list[str]:
        return self._database.problems()

    def close(self) -> None:
        self._database.close()

    def log(self) -> SqliteEventLog:
        """The event log over the same file."""
        return SqliteEventLog(self._database)

    def tokens(self) -> SqliteTokenStore:
        """The tokens in the same file."""
        return SqliteTokenStore(self._database)

    def _meta(self, key: str) -> str | None:
        with self._database.reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _set_meta(self, key: str, value: str) -> None:
        statement = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
        self._database.write(lambda db: db.execute(statement, (key, value)), reserve=False)


class SqliteEventLog:
    """The outbox table, followed in-process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, namespace: str, after: int, limit: int) -> Sequence[Event]:
        return self._read(namespace, after, limit, "ASC")

    def newest(self, namespace: str, after: int, limit: int) -> Sequence[Event]:
        return self._read(namespace, after, limit, "DESC")

    def _read(self, namespace: str, after: int, limit: int, direction: str) -> Sequence[Event]:
        with self._database.reading() as db:
            rows = db.execute(
                'SELECT "offset", id, version, kind, time FROM events '
                f'WHERE namespace = ? AND "offset" > ? ORDER BY "offset" {direction} LIMIT ?',
                (namespace, after, limit),
            )
            return [
                Event(offset, namespace, UUID(bytes=key), version, EventKind(kind), moment(time))
                for offset, key, version, kind, time in rows
            ]

    def ends(self) -> Mapping[str, int]:
        with self._database.reading() as db:
            names = [row[0] for row in db.execute("SELECT DISTINCT namespace FROM counts")]
        return {name: self.end(name) for name in names}

    def end(self, namespace: str) -> int:
        with self._database.reading() as db:
            row = db.execute('SELECT max("offset") FROM events WHERE namespace = ?', (namespace,)).fetchone()
        return row[0] or 0

    def lag(self, namespace: str, after: int) -> int:
        with self._database.reading() as db:
            row = db.execute(
                'SELECT count(*) FROM (SELECT 1 FROM events WHERE namespace = ? AND "offset" > ? LIMIT 1000000)',
                (namespace, after),
            ).fetchone()
        count: int = row[0]
        return count


def _selected(
    db: sqlite3.Connection, namespace: str, selection: Selection, purge: bool
) -> tuple[list[UUID], list[str]]:
    """The ids that a forget would change, and those that are unknown."""
    states = (State.LIVE, State.FORGOTTEN) if purge else (State.LIVE,)
    if not selection.ids:
        terms, values = where(namespace, selection.filter)
        marks = ",".join("?" * len(states))
        matching = db.execute(f"SELECT m.id FROM memories m WHERE {terms} AND m.state IN ({marks})", [*values, *states])
        return [UUID(bytes=row[0]) for row in matching], []
    rows = by_ids(db, "SELECT id, state, namespace FROM memories WHERE id IN (@ids)", selection.ids)
    found = {UUID(bytes=key): State(state) for key, state, owner in rows if owner == namespace}
    ids = [key for key in dict.fromkeys(selection.ids) if found.get(key) in states]
    return ids, [str(key) for key in selection.ids if key not in found]
