"""How far the index of a namespace has followed its events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from soma_core.domain.receipts import Indexed
from soma_core.ports.index import Checkpoint
from soma_core.services.writing import Written

PENDING_LIMIT = 1_000
"""As many of the newest that wait are found by their words."""

Report = Callable[[int, int], None]
"""Called with how much is done and how much there is."""


@dataclass(slots=True)
class Progress:
    """How far the events of a namespace are in its index. There is one for a namespace, for good.

    `words` moves under `lock`, `vectors` under the lock of all vectors; the epoch moves under `lock` too.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    known: bool = False
    """Whether the index was asked how far it is."""
    epoch: int = 0
    """Grows when the index starts empty: what was read from it before must be read again."""
    words: int = 0
    vectors: int = 0
    flushed: Checkpoint = field(default_factory=Checkpoint)
    asked: float = float("-inf")
    """When the index was asked what another process had brought in; on the monotonic clock."""
    unflushed: int = 0
    """Points written since the last flush."""
    failed: int = 0
    """Passages that could not be embedded; they are found by their words only."""
    unweighed: int = 0
    """Passages that a sparse model should have weighed and did not."""

    def stand_at(self, checkpoint: Checkpoint) -> None:
        """Begin at what the index holds."""
        self.words, self.vectors, self.flushed = checkpoint.words, checkpoint.vectors, checkpoint
        self.unflushed, self.known = 0, True
        self.epoch += 1

    def move_to(self, checkpoint: Checkpoint) -> None:
        """Go on to where another process has brought the index, or back where it begun anew."""
        if checkpoint.words < self.words:
            self.stand_at(checkpoint)
        self.words, self.vectors, self.flushed = checkpoint.words, checkpoint.vectors, checkpoint

    def add(self, written: Written) -> None:
        """Count what went into the index."""
        self.unflushed += written.points
        self.failed += written.failed
        self.unweighed += written.unweighed

    def notices(self) -> list[str]:
        """What an operator should know of what was written."""
        found = []
        if self.failed:
            found.append(f"{self.failed} passages could not be embedded and are found by their words only")
        if self.unweighed:
            found.append(
                f"{self.unweighed} passages are without the words of the sparse model: `soma reindex` tries again"
            )
        return found

    def checkpoint(self) -> Checkpoint:
        words = self.words
        return Checkpoint(words, min(words, self.vectors))


@dataclass(frozen=True, slots=True)
class Pending:
    """What the words of the index lack: ids newest first, and how many more there are than are listed."""

    ids: Sequence[UUID]
    unlisted: int
    unembedded: int
    """How many events have no vectors yet."""
    epoch: int
    """Of the index that was asked: when it has changed after a search, the search saw another index."""


class IndexState(Protocol):
    """What those who store, recall and look after a memory ask and tell of its index, whoever writes it."""

    def pending(self, namespace: str) -> Pending:
        """The memories whose words may not be in the index yet, the newest thousand listed."""
        ...

    def epoch(self, namespace: str) -> int:
        """Which of its indexes the namespace has now."""
        ...

    def backlog(self, namespace: str) -> tuple[int, int]:
        """How many events wait for their words, and for their vectors."""
        ...

    def oldest(self, namespace: str) -> datetime | None:
        """Since when the oldest of them waits; None when none does."""
        ...

    def usable(self, namespace: str) -> bool:
        """Whether the index can be used without writing to a disk that is below its reserve: opening writes."""
        ...

    def level(self, namespace: str) -> Indexed:
        """What the index has of everything that was recorded in the namespace."""
        ...

    def notices(self, namespace: str) -> list[str]:
        """What an operator should know of the index."""
        ...

    def changed(self, namespace: str) -> None:
        """Tell whoever follows the events that a namespace has new ones."""
        ...

    def words_now(self, namespace: str) -> bool:
        """Bring new words in from the thread that stored them, if that is quick and its business; whether all are."""
        ...

    def namespaces(self) -> list[str]:
        """Every namespace that has events."""
        ...
