"""Dense, lexical and learned search over passages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from soma_core.domain.memory import MemoryType
from soma_core.domain.query import Filter
from soma_core.ports.embedder import Vector
from soma_core.ports.sparse import Weights


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """One passage of one version of a memory. It holds filter fields and numbers; `words` is never kept as text."""

    memory_id: UUID
    version: int
    passage: int
    words: str
    """What the lexical arm sees of the passage."""
    vector: Vector | None
    """None until it is embedded; the dense arm does not see the point before."""
    current: bool
    """Scope: the memory's current version, or an older one."""
    type: MemoryType
    tags: tuple[str, ...]
    thread: str | None
    speaker: str | None
    occurred_at: datetime
    learned: Weights | None = None
    """What the learned arm sees of the passage; an index made without that arm drops it."""


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """The arms of a search among current versions; `vector` or `learned` None leaves that arm out."""

    words: str
    vector: Vector | None
    limit: int
    """Passages from each arm."""
    filter: Filter = field(default_factory=Filter)
    learned: Weights | None = None


class Match(NamedTuple):
    """A passage that was found. Scores are the arm's own: cosine, BM25, or the product of learned weights."""

    memory: int
    """The memory's id as a number: there are hundreds of these in a search, and numbers are quicker to look up."""
    version: int
    passage: int
    score: float


@dataclass(frozen=True, slots=True)
class Matches:
    """What each arm found, best first; equal scores in order of memory id, version and passage."""

    dense: Sequence[Match]
    lexical: Sequence[Match]
    learned: Sequence[Match] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the log has been brought into the index of a namespace: event offsets."""

    words: int = 0
    vectors: int = 0


@dataclass(frozen=True, slots=True)
class Indexed:
    """A point as the index holds it, for checks against the records."""

    memory_id: UUID
    version: int
    passage: int
    current: bool
    embedded: bool


class VectorIndex(Protocol):
    """One index a namespace, made on its first use. Safe to call from many threads; searches go before writes.

    Writes are seen by the next search and survive the death of the process; only `flush` makes them survive a power
    cut, as far as that is in the index's hands. The index is derived: where it is missing, damaged, from another store
    or made by another model of either kind, it starts empty, `checkpoint` is then (0, 0), and its owner replays the
    log. An index that cannot be reached now raises `Unavailable` in every call but `overlap`, `is_open` and `rebuilt`,
    and is used again once it can. Full disks are the caller's to avoid: writing on one may kill the process.
    """

    def put(self, namespace: str, points: Sequence[IndexPoint]) -> None:
        """Add points; a point of the same memory, version and passage is replaced."""
        ...

    def retire(self, namespace: str, memory_id: UUID, version: int) -> None:
        """Take every point of the memory below `version` out of the current scope."""
        ...

    def remove(self, namespace: str, memory_id: UUID, version: int) -> None:
        """Delete every point of the memory below `version`. An unknown memory is no error."""
        ...

    def search(self, namespace: str, query: IndexQuery) -> Matches:
        """The best passages of each arm. A namespace without an index has no matches.

        How rare a word is, is counted over the points that the namespace holds now, older versions among them.
        """
        ...

    def overlap(self, query: str, texts: Sequence[str]) -> list[float]:
        """How much of the query's words each text holds, 0 to 1, by the lexical arm's own words and weights.

        For texts that are not in the index yet; needs no statistics of the namespace.
        """
        ...

    def is_open(self, namespace: str) -> bool:
        """Whether the namespace's index is at hand: the next call neither opens files nor asks whose it is."""
        ...

    def checkpoint(self, namespace: str) -> Checkpoint:
        """What the last `flush` recorded."""
        ...

    def flush(self, namespace: str, checkpoint: Checkpoint) -> None:
        """Make everything written so far survive a power cut, then record `checkpoint` beside it."""
        ...

    def reset(self, namespace: str) -> None:
        """Delete the namespace's index; its checkpoint is (0, 0) afterwards."""
        ...

    def points(self, namespace: str) -> Iterator[Indexed]:
        """Every point of the namespace, in no order."""
        ...

    def rebuilt(self) -> Sequence[str]:
        """Why indexes were found unusable and started empty since the process began, one sentence each."""
        ...

    def close(self) -> None:
        """Let go of all files and connections. Does not flush."""
        ...
