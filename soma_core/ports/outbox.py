"""What is recorded and not yet everywhere: between the records and those who follow them from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from soma_core.domain.events import Event


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many events of a namespace wait, and since when."""

    words: int
    """Events whose words are not in the index."""
    vectors: int
    """Events whose vectors are not; those whose words are not are among them."""
    oldest: datetime | None
    """The time of the oldest that waits; None when nothing does."""
    generation: int | None = None
    """Of the index that serves, which is the one that they wait for; None where none is recorded."""


@dataclass(frozen=True, slots=True)
class Held:
    """An event that waits, and how far it has come."""

    event: Event
    sent: bool
    """The log has it."""
    words: bool
    """Its words are in the index."""


class Outbox(Protocol):
    """Every event is here from the commit of its change until its words and vectors are in the index.

    A row is written in the transaction of its change. It is sent to the log once at least; it leaves when its vectors
    are in, also when it was never marked as sent. Marking what is gone, or twice, is no error. Safe to call from many
    threads and processes. Raises `Unavailable`.
    """

    def begin(self, *, anew: bool = False) -> bool:
        """Take in the events of every change from now on, in all processes.

        True until `adopted` was called, and with `anew`: what the index has not of all that was recorded before is to
        be adopted.
        """
        ...

    def adopted(self) -> None:
        """Every namespace was adopted."""
        ...

    def relaying(self) -> AbstractContextManager[bool]:
        """Try to be the one relay of this store; True within when no other is. Given up with the process.

        A relay that may have lost that place to another gets `Unavailable` from `unsent`: it has to try anew.
        """
        ...

    def unsent(self, limit: int) -> Sequence[Event]:
        """The next events to send; those of one memory in the order of their versions."""
        ...

    def mark_sent(self, events: Iterable[Event]) -> None:
        """The log has these for good."""
        ...

    def waiting(self, events: Iterable[Event]) -> Mapping[Event, bool]:
        """Those of these that are here, with whether their words are in the index; the others are in altogether.

        Also left out is what is not of this history: where the records were put back to an earlier state, another
        event came to have the offset of one that was sent before.
        """
        ...

    def newest(self, namespace: str, limit: int) -> Sequence[Event]:
        """The last `limit` events of a namespace whose words are not in the index, the newest first."""
        ...

    def held(self, namespace: str) -> Sequence[Held]:
        """All that waits in a namespace, the oldest first: for a comparison, as it may be much."""
        ...

    def backlog(self, namespace: str) -> Backlog:
        """What waits in a namespace; counts stop at 1,000,000."""
        ...

    def mark_words(self, events: Iterable[Event], generation: int) -> bool:
        """The words of these are in the index of a generation; False, and nothing is marked, when another serves."""
        ...

    def mark_vectors(self, events: Iterable[Event], generation: int) -> bool:
        """The vectors of these are in the index; they leave. False as with `mark_words`."""
        ...

    def adopt(self, namespace: str, after: int) -> int:
        """Take in the events of a namespace with offsets over `after` that are not here; how many.

        For a store that was used without a log before: `after` is how far its index had got. Or for an index that was
        lost: events that are here wait for their words again, and are sent again.
        """
        ...
