"""Comparing what is derived with the records: the index, and beside it what waits and what is cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from soma_core.domain.passages import split_passages
from soma_core.ports.clock import Clock
from soma_core.ports.index import Indexed, VectorIndex
from soma_core.ports.outbox import Held, Outbox
from soma_core.ports.records import RecordStore
from soma_core.services.caching import Bodies
from soma_core.services.copies import CacheDrift, LogDrift, cache_drift, log_drift
from soma_core.services.progress import IndexState

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
    """Where index, log and cache of a namespace differ from the records.

    Where workers elsewhere index, what an event that waits explains is not among the `lasting`.
    Else the index follows the events in order, and what is pending explains any difference.
    """

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
    lasting: int
    """Of these differences, those that no event that waits in the outbox explains; without one, all."""
    log: LogDrift | None
    """None where this process indexes by itself."""
    cache: CacheDrift | None
    """None where bodies are not cached."""
    examples: Sequence[str]
    """The first differences, a sentence each."""

    @property
    def is_indexed(self) -> bool:
        """Whether the index is as the records have it, but for what waits."""
        return not self.lasting

    @property
    def is_clean(self) -> bool:
        return self.is_indexed and all(each is None or each.is_clean for each in (self.log, self.cache))

    @property
    def is_good(self) -> bool:
        """Clean, or with an index that is on its way to be."""
        on_its_way = self.log is None and self.pending > 0 and (self.cache is None or self.cache.is_clean)
        return self.is_clean or on_its_way


def compare(
    records: RecordStore,
    index: VectorIndex,
    indexing: IndexState,
    namespace: str,
    *,
    outbox: Outbox | None,
    bodies: Bodies,
    clock: Clock,
) -> Drift:
    """Read the whole namespace, records, index, outbox and cache, and count the differences.

    They are read one after the other, and what changes in between looks like a difference: so where there are any, it
    looks again, and what is not there both times is none.
    """
    look = earlier = _look(records, index, outbox, namespace)
    if look.differences or look.held:
        look = _look(records, index, outbox, namespace)
    before, waited = set(earlier.differences), {each.event for each in earlier.held}
    differences = [each for each in look.differences if each in before]
    held = [each for each in look.held if each.event in waited]
    waiting = {each.event.memory_id for each in look.held}
    lasting = [each for each in differences if each.memory not in waiting]
    kinds = Counter(each.kind for each in differences)
    cache, copies = cache_drift(records, bodies, namespace) if bodies.cached else (None, [])
    return Drift(
        namespace=namespace,
        memories=look.memories,
        points=look.points,
        missing=kinds["missing"],
        unembedded=kinds["unembedded"],
        stale=kinds["stale"],
        left=kinds["left"],
        pending=max(indexing.backlog(namespace)),
        lasting=len(lasting),
        log=log_drift(held, {each.memory for each in differences}, clock()) if outbox else None,
        cache=cache,
        examples=[str(each) for each in [*lasting, *copies][:EXAMPLES]],
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found at one time."""

    memories: int
    points: int
    differences: Sequence[Difference]
    held: Sequence[Held]
    """What waited just before the index was read."""


def _look(records: RecordStore, index: VectorIndex, outbox: Outbox | None, namespace: str) -> _Look:
    held = outbox.held(namespace) if outbox else ()
    return _Look(*_differences(records, index, namespace), held)


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
