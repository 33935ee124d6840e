"""What the ids of points stand for, remembered: reading payloads is most of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from soma_core.adapters.qdrant.points import MEMORY, PASSAGE, VERSION
from soma_core.ports.index import Match

REMEMBERED = 20_000
"""Points; about 7 MB."""


class Name(NamedTuple):
    """The passage that a point stands for. The point's id is made of it, so it never changes."""

    memory_id: UUID
    version: int
    passage: int


class Names:
    """Names of points, read from the index where they are not remembered. One caller at a time."""

    def __init__(self) -> None:
        self._known: dict[object, Name] = {}

    def learn(self, ids: Sequence[object], read: Callable[[list[Any]], Mapping[object, Mapping[str, Any]]]) -> None:
        """Remember the names of these points; `read` gives payloads by id."""
        missing = [each for each in ids if each not in self._known]
        if not missing:
            return
        if len(self._known) + len(missing) > REMEMBERED:
            self._known = {each: self._known[each] for each in ids if each in self._known}
        for point_id, payload in read(missing).items():
            self._known[point_id] = Name(UUID(payload[MEMORY]), payload[VERSION], payload[PASSAGE])

    def matches(self, scored: Sequence[tuple[object, float]]) -> list[Match]:
        """The passages of scored points: best first, equal ones by memory id, version and passage."""
        found = [(score, name) for point_id, score in scored if (name := self._known.get(point_id))]
        found.sort(key=lambda pair: (-pair[0], pair[1].memory_id.int, pair[1].version, pair[1].passage))
        return [Match(*name, score) for score, name in found]
