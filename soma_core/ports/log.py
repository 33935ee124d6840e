"""The order in which memories changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from soma_core.domain.events import Event


class EventLog(Protocol):
    """Ordered, at-least-once.

    An event is in the log exactly when its change is committed. Offsets grow with every event of a namespace, and an
    event with a smaller offset never appears after one with a larger offset was read. The log keeps no position for
    its readers: a reader keeps its own beside what it derives from the events, so that the two cannot drift apart,
    and reads on from there after a crash. It may thus see an event again and must not mind.
    """

    def read(self, namespace: str, after: int, limit: int) -> Sequence[Event]:
        """At most `limit` events of a namespace with offsets over `after`, in order."""
        ...

    def newest(self, namespace: str, after: int, limit: int) -> Sequence[Event]:
        """The last `limit` events of a namespace with offsets over `after`, the newest first."""
        ...

    def ends(self) -> Mapping[str, int]:
        """The last offset of every namespace that has events."""
        ...

    def end(self, namespace: str) -> int:
        """The last offset of a namespace, 0 when it has no events."""
        ...

    def lag(self, namespace: str, after: int) -> int:
        """How many events of a namespace have offsets over `after`; 1,000,000 stands for that many or more."""
        ...
