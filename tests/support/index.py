"""A `VectorIndex` in a dictionary, exact and quick, whose every call can be interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from soma_core.domain.errors import Unavailable
from soma_core.domain.query import Filter
from soma_core.ports.index import Checkpoint, Indexed, IndexPoint, IndexQuery, Match, Matches

Key = tuple[UUID, int, int]


def terms(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


class MemoryIndex:
    """Keeps points by memory, version and passage. Scores: cosine, and how many of the query's words are there.

    `before` and `after` map a method's name to something that runs at its start or end: the place where a test lets
    another thread's work come in between. `broken` makes every use of a namespace raise `Unavailable`.
    """

    def __init__(self) -> None:
        self.kept: dict[str, dict[Key, IndexPoint]] = {}
        self.checkpoints: dict[str, Checkpoint] = {}
        self.flushes: list[tuple[str, Checkpoint]] = []
        self.searches: list[IndexQuery] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self.broken = False
        self.opened = True
        self.notes: list[str] = []

    def put(self, namespace: str, points: Sequence[IndexPoint]) -> None:
        self._enter("put")
        kept = self.kept.setdefault(namespace, {})
        for point in points:
            kept[point.memory_id, point.version, point.passage] = point
        self._leave("put")

    def retire(self, namespace: str, memory_id: UUID, version: int) -> None:
        self._enter("retire")
        kept = self.kept.get(namespace, {})
        for key, point in list(kept.items()):
            if key[0] == memory_id and key[1] < version:
                kept[key] = replace(point, current=False)
        self._leave("retire")

    def remove(self, namespace: str, memory_id: UUID, version: int) -> None:
        self._enter("remove")
        kept = self.kept.get(namespace, {})
        for key in [key for key in kept if key[0] == memory_id and key[1] < version]:
            del kept[key]
        self._leave("remove")

    def search(self, namespace: str, query: IndexQuery) -> Matches:
        self._enter("search")
        self.searches.append(query)
        points = [p for p in list(self.kept.get(namespace, {}).values()) if p.current and _matches(p, query.filter)]
        found = Matches(_dense(points, query), _lexical(points, query))
        self._leave("search")
        return found

    def overlap(self, query: str, texts: Sequence[str]) -> list[float]:
        wanted = terms(query)
        return [len(wanted & terms(text)) / len(wanted) if wanted else 0.0 for text in texts]

    def is_open(self, namespace: str) -> bool:
        return self.opened

    def checkpoint(self, namespace: str) -> Checkpoint:
        self._enter("checkpoint")
        found = self.checkpoints.get(namespace, Checkpoint())
        self._leave("checkpoint")
        return found

    def flush(self, namespace: str, checkpoint: Checkpoint) -> None:
        self._enter("flush")
        self.checkpoints[namespace] = checkpoint
        self.flushes.append((namespace, checkpoint))
        self._leave("flush")

    def reset(self, namespace: str) -> None:
        self._enter("reset")
        self.kept.pop(namespace, None)
        self.checkpoints.pop(namespace, None)
        self._leave("reset")

    def points(self, namespace: str) -> Iterator[Indexed]:
        for (memory_id, version, passage), point in list(self.kept.get(namespace, {}).items()):
            yield Indexed(memory_id, version, passage, point.current, point.vector is not None)

    def rebuilt(self) -> Sequence[str]:
        return self.notes

    def close(self) -> None:
        self.broken = True

    def _enter(self, name: str) -> None:
        if self.broken:
            raise Unavailable("the index cannot be opened")
        self.before.get(name, lambda: None)()

    def _leave(self, name: str) -> None:
        self.after.get(name, lambda: None)()


def _matches(point: IndexPoint, wanted: Filter) -> bool:
    return (
        (not wanted.types or point.type in wanted.types)
        and set(wanted.tags) <= set(point.tags)
        and wanted.thread in (None, point.thread)
        and wanted.speaker in (None, point.speaker)
        and (wanted.since is None or point.occurred_at >= wanted.since)
        and (wanted.until is None or point.occurred_at < wanted.until)
    )


def _dense(points: Sequence[IndexPoint], query: IndexQuery) -> list[Match]:
    if query.vector is None:
        return []
    vector = list(query.vector)
    scored = [
        (sum(a * b for a, b in zip(vector, point.vector, strict=True)), point)
        for point in points
        if point.vector is not None
    ]
    return _best(scored, query.limit)


def _lexical(points: Sequence[IndexPoint], query: IndexQuery) -> list[Match]:
    wanted = terms(query.words)
    scored = [(float(len(wanted & terms(point.words))), point) for point in points]
    return _best([(score, point) for score, point in scored if score], query.limit)


def _best(scored: list[tuple[float, IndexPoint]], limit: int) -> list[Match]:
    found = [Match(point.memory_id.int, point.version, point.passage, score) for score, point in scored]
    return sorted(found, key=lambda m: (-m.score, m.memory, m.version, m.passage))[:limit]
