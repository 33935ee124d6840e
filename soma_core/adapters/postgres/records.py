"""RecordStore on Postgres."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any
from uuid import UUID

from soma_core.adapters.postgres.browsing import browse, containing, within
from soma_core.adapters.postgres.errors import Address, translated
from soma_core.adapters.postgres.forgetting import earlier_receipt, forget, selected, selecting, vacuum
from soma_core.adapters.postgres.log import PostgresEventLog
from soma_core.adapters.postgres.migrate import check_schema, check_server
from soma_core.adapters.postgres.outbox import PostgresOutbox
from soma_core.adapters.postgres.pool import Pool, connect, unhurried
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.postgres.rows import memory, ns_of, texts
from soma_core.adapters.postgres.storing import GatheredStores, store_all
from soma_core.adapters.postgres.tokens import PostgresTokenStore
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.adapters.values import micros
from soma_core.domain.candidates import Features
from soma_core.domain.errors import SomaError
from soma_core.domain.generations import Generations
from soma_core.domain.memory import Memory, MemoryType, State
from soma_core.domain.query import BrowseQuery, Filter, Page, Selection
from soma_core.domain.receipts import Change, Forgotten
from soma_core.domain.terms import Terms
from soma_core.domain.validation import invalid
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.records import Counts, Head, Request, Submission, Versioned

log = logging.getLogger(__name__)

ERASE_DUE = "erase due"
ERASE_AT_ONCE_BYTES = 64 << 20
"""A purge cleans tables up to this size together before it is answered."""


class PostgresRecordStore:
    """The records of all namespaces in one database, which other processes use too.

    Raises `InvalidInput` or `Unavailable` when it cannot be opened, saying which setting and which host, and
    `StoreCorrupt` for a schema that is newer than this version of Soma.
    """

    def __init__(self, url: str, *, pool_size: int = 10, clock: Clock = system_clock) -> None:
        address = Address.parse(url)
        with closing(connect(address)) as db, translated(address):
            check_server(db, address)
            check_schema(db, address)
            if db.info.parameter_status("in_hot_standby") == "on":
                log.warning(
                    "POSTGRES_URL asks for a replica with target_session_attrs: at %s nothing can be stored, and what "
                    "was forgotten may still be found",
                    address.shown,
                )
        self._pool = Pool(address, pool_size)
        self._clock = clock
        self._stores = GatheredStores(self._store)
        self._store_id = self._meta("store_id") or ""

    def store(self, submissions: Sequence[Submission]) -> list[list[Change] | SomaError]:
        return self._stores.take(submissions)

    def _store(self, submissions: Sequence[Submission]) -> list[list[Change] | SomaError]:
        return self._pool.write(lambda tx: store_all(tx, submissions, self._clock()))

    def forget(
        self, namespace: str, selection: Selection, request: Request, *, purge: bool, reason: str | None
    ) -> Forgotten:
        return self._pool.write(lambda tx: forget(tx, namespace, selection, request, purge, reason, self._clock()))

    def select(self, namespace: str, selection: Selection, *, purge: bool) -> Forgotten:
        return selected(self._pool.read(*selecting(ns_of(namespace), selection, purge)), selection)

    def erase(self, *, at_once: bool) -> bool:
        due = self._meta(ERASE_DUE)
        if due is None:
            return True
        if at_once and self._pool.read(QUERIES["erasable_bytes"], {})[0][0] > ERASE_AT_ONCE_BYTES:
            return False
        with translated(self._pool.address), self._pool.lent() as db:
            if not vacuum(db, due):
                return False
        self._pool.write(lambda tx: tx.run(QUERIES["forget_meta"], {"key": ERASE_DUE, "value": due}))
        return True

    def find(self, namespace: str, ids: Sequence[str]) -> dict[str, UUID]:
        whole = {given: UUID(given) for given in ids if len(given) != 12}
        known = self.heads(namespace, list(whole.values()))
        found = {given: key for given, key in whole.items() if key in known}
        for given in dict.fromkeys(ids):
            if given not in whole:
                rows = self._read("find", namespace, digits=given.lower())
                if len(rows) > 1:
                    fitting = ", ".join(row[0] for row in rows)
                    raise invalid("ids", f"{given} fits {fitting}: give the whole id")
                if rows:
                    found[given] = UUID(rows[0][0])
        return found

    def heads(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Head]:
        rows = self._read("heads", namespace, ids=texts(ids))
        return {UUID(key): Head(version, State(state)) for key, version, state in rows}

    def live_versions(self, namespace: str, ids: Collection[int]) -> dict[int, int]:
        rows = self._read("live_versions", namespace, ids=[f"{key:032x}" for key in ids])
        return {_number(key): version for key, version in rows}

    def features(self, namespace: str, ids: Collection[int]) -> dict[int, Features]:
        rows = self._read("features", namespace, ids=[f"{key:032x}" for key in ids])
        return {_number(key): Features(*seen) for key, *seen in rows}

    def speakers(self, namespace: str, names: Sequence[str]) -> list[str]:
        found = self._read("speakers", namespace, names=list(names))
        return [speaker for name, speaker in found if speaker == name or speaker.split()[0] == name]

    def read(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        found = [memory(namespace, row) for row in self._read("read", namespace, ids=texts(ids))]
        return {item.id: item for item in found}

    def versions(self, namespace: str, keys: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], Versioned]:
        wanted = dict.fromkeys(keys)
        rows = self._read("versions", namespace, ids=texts(key for key, _ in wanted), versions=[n for _, n in wanted])
        found = [Versioned(memory(namespace, row), now) for now, *row in rows]
        return {(item.memory.id, item.memory.version): item for item in found}

    def within(self, namespace: str, low: str, high: str, wanted: Filter, limit: int) -> list[Memory]:
        return within(self._pool, namespace, low, high, wanted, limit)

    def containing(self, namespace: str, terms: Terms, wanted: Filter, limit: int) -> list[Memory]:
        return containing(self._pool, namespace, terms, wanted, limit)

    def browse(self, namespace: str, query: BrowseQuery) -> Page:
        return browse(self._pool, namespace, query)

    def counts(self, namespace: str) -> Counts:
        states: dict[State, int] = dict.fromkeys(State, 0)
        types: dict[MemoryType, int] = dict.fromkeys(MemoryType, 0)
        for state, type_, n in self._read("counts", namespace):
            states[State(state)] += n
            if state == State.LIVE:
                types[MemoryType(type_)] += n
        return Counts(states, types)

    def live(self, namespace: str) -> Mapping[UUID, int]:
        return {UUID(key): version for key, version in self._read("live", namespace)}

    def generations(self) -> Generations | None:
        return Generations.parse(self._meta("generations"), self._meta("model"))

    def change_generations(self, found: Generations | None, wanted: Generations) -> bool:
        values = {"key": "generations", "value": wanted.text(), "found": found.text() if found else None}
        changed = False

        def change(tx: Transaction) -> bool:
            nonlocal changed
            if tx.fetch(QUERIES["change_meta"], values):
                changed = True
                return True
            # In a second run the first may have been committed: it finds its own value.
            return changed and tx.fetch(QUERIES["meta"], values) == [(wanted.text(),)]

        return self._pool.write(change)

    def was_indexed(self, namespace: str) -> bool:
        return self._read("was_indexed", namespace) == [(True,)]

    def mark_indexed(self, namespace: str) -> None:
        values = {"ns": ns_of(namespace), "name": namespace}
        self._pool.write(lambda tx: tx.run(QUERIES["mark_indexed"], values))

    @property
    def store_id(self) -> str:
        return self._store_id

    def knows(self, namespace: str, request: Request) -> bool:
        return earlier_receipt(self._read("request", namespace, id=request.id), request) is not None

    def expire_requests(self, before: datetime) -> None:
        values = {"before": micros(before)}
        while self._pool.write(lambda tx: tx.fetch(QUERIES["expire_requests"], values))[0][0]:
            pass

    def problems(self) -> list[str]:
        try:
            with translated(self._pool.address), self._pool.lent() as db, unhurried(db) as cursor:
                cursor.execute(QUERIES["problems"])
                return [row[0] for row in cursor.fetchall()]
        except SomaError as error:
            return [error.message]

    def close(self) -> None:
        self._pool.close()

    def log(self) -> PostgresEventLog:
        """The event log in the same database."""
        return PostgresEventLog(self._pool)

    def outbox(self) -> PostgresOutbox:
        """What of it is not in the index everywhere."""
        return PostgresOutbox(self._pool)

    def tokens(self) -> PostgresTokenStore:
        """The tokens in the same database."""
        return PostgresTokenStore(self._pool)

    def _read(self, query: str, namespace: str, **values: Any) -> list[tuple[Any, ...]]:
        return self._pool.read(QUERIES[query], {"ns": ns_of(namespace), **values})

    def _meta(self, key: str) -> str | None:
        rows = self._pool.read(QUERIES["meta"], {"key": key})
        return rows[0][0] if rows else None


def _number(key: str) -> int:
    return int(key.replace("-", ""), 16)
