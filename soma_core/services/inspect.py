"""Comparing what is derived with the records."""

from __future__ import annotations

from dataclasses import dataclass

from soma_core.domain.passages import split_passages
from soma_core.ports.index import VectorIndex
from soma_core.ports.records import RecordStore
from soma_core.services.indexing import Indexing


@dataclass(frozen=True, slots=True)
class Drift:
    """Where the index of a namespace differs from the records, beyond what is still pending."""

    memories: int
    points: int
    missing: int
    """Live memories with a passage that the index lacks."""
    unembedded: int
    """Live memories with a passage that has no vector."""
    stale: int
    """Points in the current scope whose memory is gone or has moved on."""
    pending: int
    """Events that the index has not followed yet: they explain differences."""

    @property
    def is_clean(self) -> bool:
        return not (self.missing or self.unembedded or self.stale)


def compare(records: RecordStore, index: VectorIndex, indexing: Indexing, namespace: str) -> Drift:
    """Read the whole namespace, records and index, and count the differences."""
    live = records.live(namespace)
    points = list(index.points(namespace))
    current = [point for point in points if point.current]
    stale = sum(live.get(point.memory_id) != point.version for point in current)
    found = {(point.memory_id, point.passage): point.embedded for point in current}
    missing = unembedded = 0
    ids = list(live)
    for start in range(0, len(ids), 500):
        for key, memory in records.read(namespace, ids[start : start + 500]).items():
            passages = [found.get((key, number)) for number in range(len(split_passages(memory.text)))]
            missing += None in passages
            unembedded += False in passages
    return Drift(len(live), len(points), missing, unembedded, stale, max(indexing.backlog(namespace)))
