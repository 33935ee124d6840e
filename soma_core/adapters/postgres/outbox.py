"""Outbox on Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from psycopg2.extensions import connection

from soma_core.adapters.postgres.errors import translated
from soma_core.adapters.postgres.pool import Pool
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.postgres.rows import event, ns_of
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.adapters.values import moment
from soma_core.domain.events import Event
from soma_core.ports.outbox import Backlog, Held

RELAY = 0x534F4D42
"""The number of the lock that the one relay holds."""
ADOPTED_AT_ONCE = 20_000


class PostgresOutbox:
    """The table `outbox` beside the events.

    Who relays does so on the connection that holds the lock: a relay whose connection broke, so that another may be
    at work, finds nothing more to send.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._names: dict[str, str] = {}
        self._relay: connection | None = None

    def begin(self, *, anew: bool = False) -> bool:
        if self._pool.read(QUERIES["meta"], {"key": "outbox"}) == [("adopted",)] and not anew:
            return False
        self._pool.write(lambda tx: tx.run(QUERIES["begin_outbox"], {}))
        return True

    def adopted(self) -> None:
        self._pool.write(lambda tx: tx.run(QUERIES["outbox_adopted"], {}))

    def end(self) -> None:
        """Take in no more events, and let go of those that are here: one process follows them by their places."""
        if self.is_used():
            self._pool.write(lambda tx: tx.run(QUERIES["end_outbox"], {}))

    def is_used(self) -> bool:
        """Whether the events of this store come here."""
        return bool(self._pool.read(QUERIES["meta"], {"key": "outbox"}))

    @contextmanager
    def relaying(self) -> Iterator[bool]:
        with closing(self._pool.connect()) as db:
            with translated(self._pool.address), db.cursor() as own:
                own.execute("SELECT pg_try_advisory_lock(%s)", (RELAY,))
                is_mine = own.fetchall() == [(True,)]
            self._relay = db if is_mine else self._relay
            try:
                yield is_mine
            finally:
                self._relay = None if is_mine else self._relay

    def unsent(self, limit: int) -> Sequence[Event]:
        if (relay := self._relay) is None:
            return self._events(self._pool.read(QUERIES["unsent"], {"limit": limit}))
        with translated(self._pool.address), relay.cursor() as own:
            own.execute(QUERIES["unsent"], {"limit": limit})
            return self._events(own.fetchall())

    def mark_sent(self, events: Iterable[Event]) -> None:
        places = _places(events)

        def mark(tx: Transaction) -> None:
            tx.run(QUERIES["unhurried"], {})
            tx.run(QUERIES["lock_waiting"], places)
            tx.run(QUERIES["mark_sent"], places)

        if places["ns"]:
            self._pool.write(mark)

    def waiting(self, events: Iterable[Event]) -> Mapping[Event, bool]:
        given = {
            (ns_of(each.namespace), each.offset, str(each.memory_id), each.version, each.kind.value): each
            for each in events
        }
        rows = self._pool.read(QUERIES["waiting"], _places(given.values())) if given else []
        return {given[key]: words for *row, words in rows if (key := tuple(row)) in given}

    def newest(self, namespace: str, limit: int) -> Sequence[Event]:
        values = {"ns": ns_of(namespace), "limit": limit}
        return [event(namespace, row) for row in self._pool.read(QUERIES["newest_wordless"], values)]

    def held(self, namespace: str) -> Sequence[Held]:
        rows = self._pool.read(QUERIES["held"], {"ns": ns_of(namespace)})
        return [Held(event(namespace, row), sent, words) for *row, sent, words in rows]

    def backlog(self, namespace: str) -> Backlog:
        words, vectors, oldest, serving = self._pool.read(QUERIES["backlog"], {"ns": ns_of(namespace)})[0]
        return Backlog(words, vectors, moment(oldest) if oldest is not None else None, serving)

    def mark_words(self, events: Iterable[Event], generation: int) -> bool:
        return self._mark("mark_words", _places(events) | {"generation": generation})

    def mark_vectors(self, events: Iterable[Event], generation: int) -> bool:
        return self._mark("mark_vectors", _places(events) | {"generation": generation})

    def adopt(self, namespace: str, after: int) -> int:
        def take(tx: Transaction) -> tuple[int | None, int]:
            values = {"ns": ns_of(namespace), "after": place, "limit": ADOPTED_AT_ONCE}
            last, fresh = tx.fetch(QUERIES["adopt"], values)[0]
            return last, fresh

        place: int | None = after
        adopted = 0
        while place is not None:
            place, fresh = self._pool.write(take)
            adopted += fresh
        return adopted

    def _mark(self, query: str, places: dict[str, Any]) -> bool:
        """In one round trip; what is marked is locked first, so that a switch of the generation is seen or waits."""

        def mark(tx: Transaction) -> bool:
            tx.run(QUERIES["lock_waiting"], places)
            return tx.fetch(QUERIES[query], places) == [(True,)]

        return not places["ns"] or self._pool.write(mark)

    def _events(self, rows: Sequence[tuple[Any, ...]]) -> list[Event]:
        if unknown := {row[0] for row in rows} - self._names.keys():
            self._names.update(self._pool.read(QUERIES["names"], {"ns": list(unknown)}))
        return [event(self._names[ns], row) for ns, *row in rows]


def _places(events: Iterable[Event]) -> dict[str, list[Any]]:
    """In the order in which all lock them."""
    pairs = sorted((ns_of(each.namespace), each.offset) for each in events)
    return {"ns": [ns for ns, _ in pairs], "offsets": [offset for _, offset in pairs]}
