"""Who may call the engine next."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

PATIENCE = 0.1


class Turns:
    """One call at a time, queries first.

    The line is ordered by arrival, and a write counts as having come `patience` seconds later than it did: queries
    pass it meanwhile, and no stream of them can hold it up for ever.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._line: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._busy = False

    def query(self) -> AbstractContextManager[None]:
        """Hold the engine for a query."""
        return self._turn(0.0)

    def write(self) -> AbstractContextManager[None]:
        """Hold the engine for a write. Keep it short: queries wait."""
        return self._turn(self._patience)

    @contextmanager
    def _turn(self, delay: float) -> Iterator[None]:
        self._enter((time.monotonic() + delay, next(self._numbers)))
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _enter(self, ticket: tuple[float, int]) -> None:
        with self._changed:
            heapq.heappush(self._line, ticket)
            try:
                self._changed.wait_for(lambda: not self._busy and self._line[0] == ticket)
                self._busy = True
            finally:
                self._line.remove(ticket)
                heapq.heapify(self._line)
                self._changed.notify_all()
