"""What the ids of points stand for, remembered: reading payloads is most of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from soma_core.adapters.qdrant.points import KIND, MEMORY, PASSAGE, TIMED, VERSION
from soma_core.ports.index import Match

REMEMBERED = 20_000
"""Points; about 7 MB."""


Name = tuple[int, int, int]
"""The passage that a point stands for: memory, version, passage. The point's id is made of it and never changes."""


class Names:
    """Names of points, read from the index where neither their ids tell them nor they are remembered.

    One caller at a time.
    """

    def __init__(self) -> None:
        self._known: dict[int, Name] = {}

    def matches(
        self,
        points: Sequence[int],
        scores: Sequence[float],
        read: Callable[[list[UUID]], Mapping[UUID, Mapping[str, Any]]],
    ) -> list[Match]:
        """The passages of scored points: best first, equal ones by memory id, version and passage.

        `read` gives payloads by id, for the points whose names are not known.
        """
        names = self._named(points)
        if missing := [point for point, name in zip(points, names, strict=True) if name is None]:
            self._learn(points, read([UUID(int=point) for point in missing]))
            names = self._named(points)
        made = tuple.__new__
        found = [made(Match, (*name, score)) for name, score in zip(names, scores, strict=True) if name]
        if len(set(scores)) < len(scores):
            found.sort(key=lambda match: (-match[3], *match[:3]))
        return found

    def _named(self, points: Sequence[int]) -> list[Name | None]:
        """See `point_id`: most ids tell their names."""
        known = self._known
        return [
            (point - (passage << KIND), 1, passage)
            if (passage := (point >> KIND & 15) - TIMED) >= 0
            else known.get(point)
            for point in points
        ]

    def _learn(self, points: Sequence[int], payloads: Mapping[UUID, Mapping[str, Any]]) -> None:
        if len(self._known) + len(payloads) > REMEMBERED:
            self._known = {point: self._known[point] for point in points if point in self._known}
        for point, payload in payloads.items():
            self._known[point.int] = UUID(payload[MEMORY]).int, payload[VERSION], payload[PASSAGE]
