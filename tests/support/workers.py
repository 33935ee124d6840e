"""What tests of the workers stand on: events, and an outbox in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from soma_core.domain.events import Event, EventKind


def event(number: int, version: int = 1, kind: EventKind = EventKind.STORED) -> Event:
    """The event of a memory that has this number for an id."""
    return Event(number, "api_ns", UUID(int=number), version, kind, datetime(2026, 1, 1, tzinfo=UTC))


class MemoryOutbox:
    """As much of an outbox as a relay uses."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.left = list(events)
        self.sent: list[Event] = []
        self._relay = threading.Lock()

    @contextmanager
    def relaying(self) -> Iterator[bool]:
        mine = self._relay.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._relay.release()

    def unsent(self, limit: int) -> Sequence[Event]:
        return self.left[:limit]

    def mark_sent(self, events: Iterable[Event]) -> None:
        done = set(events)
        self.sent += [event for event in self.left if event in done]
        self.left = [event for event in self.left if event not in done]
