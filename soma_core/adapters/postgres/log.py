"""EventLog on Postgres: the table `events`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soma_core.adapters.postgres.pool import Pool
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.postgres.rows import event, ns_of
from soma_core.domain.events import Event


class PostgresEventLog:
    """The events of all namespaces; what one process commits, all others see.

    Writers of a namespace wait for each other until the commit, so offsets appear in order. They leave gaps, where
    other namespaces have theirs or a transaction was given up.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def read(self, namespace: str, after: int, limit: int) -> Sequence[Event]:
        return self._events("events_after", namespace, after, limit)

    def newest(self, namespace: str, after: int, limit: int) -> Sequence[Event]:
        return self._events("newest_events", namespace, after, limit)

    def ends(self) -> Mapping[str, int]:
        return dict(self._pool.read(QUERIES["ends"], {}))

    def end(self, namespace: str) -> int:
        rows = self._pool.read(QUERIES["end"], {"ns": ns_of(namespace)})
        return rows[0][0] if rows else 0

    def lag(self, namespace: str, after: int) -> int:
        count: int = self._pool.read(QUERIES["lag"], {"ns": ns_of(namespace), "after": after})[0][0]
        return count

    def _events(self, query: str, namespace: str, after: int, limit: int) -> Sequence[Event]:
        values = {"ns": ns_of(namespace), "after": after, "limit": limit}
        return [event(namespace, row) for row in self._pool.read(QUERIES[query], values)]
