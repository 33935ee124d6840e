"""What the ids of points stand for, remembered: reading payloads is most of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from soma_core.adapters.qdrant.points import MEMORY, PASSAGE, VERSION
from soma_core.ports.index import Match

REMEMBERED = 20_000
"""Points; about 7 MB."""


Name = tuple[int, int, int]
"""The passage that a point stands for: memory, version, passage. The point's id is made of it and never changes."""


class Names:
    """Names of points, read from the index where they are not remembered. One caller at a time."""

    def __init__(self) -> None:
        self._known: dict[int, Name] = {}

    def learn(self, ids: Sequence[UUID], read: Callable[[list[Any]], Mapping[UUID, Mapping[str, Any]]]) -> None:
        """Remember the names of these points; `read` gives payloads by id."""
        missing = [each for each in ids if each.int not in self._known]
        if not missing:
            return
        if len(self._known) + len(missing) > REMEMBERED:
            self._known = {each.int: self._known[each.int] for each in ids if each.int in self._known}
        for point_id, payload in read(missing).items():
            self._known[point_id.int] = UUID(payload[MEMORY]).int, payload[VERSION], payload[PASSAGE]

    def matches(self, scored: Sequence[tuple[UUID, float]]) -> list[Match]:
        """The passages of scored points: best first, equal ones by memory id, version and passage."""
        known = self._known
        found = [Match(*known[point.int], score) for point, score in scored if point.int in known]
        if len({score for _, score in scored}) < len(scored):
            found.sort(key=lambda match: (-match[3], *match[:3]))
        return found
