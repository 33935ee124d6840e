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

    def matches(
        self,
        points: Sequence[tuple[UUID, float]],
        read: Callable[[list[Any]], Mapping[UUID, Mapping[str, Any]]],
    ) -> list[Match]:
        """The passages of scored points: best first, equal ones by memory id, version and passage.

        `read` gives payloads by id, for the points that are not remembered.
        """
        keys = [point.int for point, _ in points]
        if missing := [point for (point, _), key in zip(points, keys, strict=True) if key not in self._known]:
            self._learn(keys, read(missing))
        known = self._known
        scores = [score for _, score in points]
        made = tuple.__new__
        found = [made(Match, (*known[key], score)) for key, score in zip(keys, scores, strict=True) if key in known]
        if len(set(scores)) < len(scores):
            found.sort(key=lambda match: (-match[3], *match[:3]))
        return found

    def _learn(self, keys: Sequence[int], payloads: Mapping[UUID, Mapping[str, Any]]) -> None:
        if len(self._known) + len(payloads) > REMEMBERED:
            self._known = {key: self._known[key] for key in keys if key in self._known}
        for point, payload in payloads.items():
            self._known[point.int] = UUID(payload[MEMORY]).int, payload[VERSION], payload[PASSAGE]
