"""Who may call the engine next."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

PATIENCE = 0.1

Ticket = tuple[float, int]


class Turns:
    """One call at a time, queries first.

    The line is ordered by arrival, and a write counts as having come `patience` seconds later than it did: queries
    pass it meanwhile, and no stream of them can hold it up for ever. A turn is handed to the first in the line; were
    it only offered, the thread that has just ended its own would mostly be there first.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._line: list[Ticket] = []
        self._numbers = itertools.count()
        self._inside: Ticket | None = None

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
                self._hand_on()

    def _enter(self, ticket: Ticket) -> None:
        with self._changed:
            heapq.heappush(self._line, ticket)
            if self._inside is None:
                self._hand_on()
            try:
                self._changed.wait_for(lambda: self._inside == ticket)
            except BaseException:
                self._give_up(ticket)
                raise

    def _hand_on(self) -> None:
        self._inside = heapq.heappop(self._line) if self._line else None
        self._changed.notify_all()

    def _give_up(self, ticket: Ticket) -> None:
        if self._inside == ticket:
            self._hand_on()
        else:
            self._line.remove(ticket)
            heapq.heapify(self._line)
