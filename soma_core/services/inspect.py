"""Comparing what is derived with the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from soma_core.domain.passages import split_passages
from soma_core.ports.index import Indexed, VectorIndex
from soma_core.ports.records import RecordStore
from soma_core.services.indexing import Indexing

EXAMPLES = 10
BATCH = 500


class Difference(NamedTuple):
    """One thing in which an index differs from the records."""

    kind: Literal["missing", "unembedded", "stale", "left"]
    memory: UUID
    version: int
    passage: int

    def __str__(self) -> str:
        return f"memory {self.memory} version {self.version} passage {self.passage}: {_MEANINGS[self.kind]}"


_MEANINGS = {
    "missing": "the index lacks it",
    "unembedded": "the index has no vector of it",
    "stale": "the index finds it, and the records have moved on",
    "left": "the index still holds it, and the records let go of the memory",
}


@dataclass(frozen=True, slots=True)
class Drift:
    """Where the index of a namespace differs from the records, beyond what is still pending."""

    namespace: str
    memories: int
    points: int
    missing: int
    """Live memories with a passage that the index lacks."""
    unembedded: int
    """Live memories with a passage that has no vector."""
    stale: int
    """Points in the current scope whose memory is gone or has moved on."""
    left: int
    """Points of older versions whose memory is gone."""
    pending: int
    """Events that the index has not followed yet: they explain differences."""
    examples: Sequence[str]
    """The first differences, a sentence each."""

    @property
    def is_clean(self) -> bool:
        return not (self.missing or self.unembedded or self.stale or self.left)


def compare(records: RecordStore, index: VectorIndex, indexing: Indexing, namespace: str) -> Drift:
    """Read the whole namespace, records and index, and count the differences.

    Both are read one after the other, and what changes in between looks like a difference: so where there are any, it
    looks again, and what is not there both times is none.
    """
    memories, points, differences = _differences(records, index, namespace)
    if differences:
        memories, points, again = _differences(records, index, namespace)
        differences = [each for each in again if each in set(differences)]
    kinds = Counter(each.kind for each in differences)
    return Drift(
        namespace=namespace,
        memories=memories,
        points=points,
        missing=kinds["missing"],
        unembedded=kinds["unembedded"],
        stale=kinds["stale"],
        left=kinds["left"],
        pending=max(indexing.backlog(namespace)),
        examples=[str(each) for each in differences[:EXAMPLES]],
    )


def _differences(records: RecordStore, index: VectorIndex, namespace: str) -> tuple[int, int, list[Difference]]:
    """How many live memories and points there are, and how they differ."""
    points = list(index.points(namespace))
    live = records.live(namespace)
    found = [each for each in (_unwanted(point, live.get(point.memory_id)) for point in points) if each]
    embedded = {(p.memory_id, p.version, p.passage): p.embedded for p in points if p.current}
    ids = list(live)
    for start in range(0, len(ids), BATCH):
        for key, memory in records.read(namespace, ids[start : start + BATCH]).items():
            passages = range(len(split_passages(memory.text)))
            held = [embedded.get((key, memory.version, number)) for number in passages]
            found += _lacking(key, memory.version, held)
    return len(live), len(points), sorted(found)


def _unwanted(point: Indexed, live: int | None) -> Difference | None:
    """What is wrong with a point of a memory whose live version is `live`."""
    if point.current and point.version != live:
        return Difference("stale", point.memory_id, point.version, point.passage)
    if not point.current and live is None:
        return Difference("left", point.memory_id, point.version, point.passage)
    return None


def _lacking(key: UUID, version: int, held: Sequence[bool | None]) -> Iterator[Difference]:
    """A memory counts once for what it lacks altogether, and once for vectors."""
    if None in held:
        yield Difference("missing", key, version, held.index(None))
    if False in held:
        yield Difference("unembedded", key, version, held.index(False))
