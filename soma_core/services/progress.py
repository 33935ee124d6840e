"""How far the index of a namespace has followed its events."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from soma_core.ports.index import Checkpoint


@dataclass(slots=True)
class Progress:
    """How far the events of a namespace are in its index. There is one for a namespace, for good.

    `words` moves under `lock`, `vectors` under the lock of all vectors; whoever holds both may begin anew.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    known: bool = False
    """Whether the index was asked how far it is."""
    epoch: int = 0
    """Grows when the index starts empty: what was read from it before must be read again."""
    words: int = 0
    vectors: int = 0
    flushed: Checkpoint = field(default_factory=Checkpoint)
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
