"""Generations of a `MemoryIndex`, and models made of hashes."""

from __future__ import annotations

from soma_core.domain.generations import Generation
from soma_core.ports.builds import Trained
from tests.support.embedder import DIMENSIONS, HashEmbedder
from tests.support.index import MemoryIndex

FIRST = Generation(1, HashEmbedder.model_id, DIMENSIONS)


class MemoryBuilds:
    """`IndexBuilds` in a dictionary: what is kept stays through a restart.

    With `shared` everyone who opens a generation has an index object of their own.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self.kept: dict[int, MemoryIndex] = {}

    def open(self, generation: Generation) -> MemoryIndex:
        index = self.kept.setdefault(generation.number, MemoryIndex())
        if self.shared:
            mine = MemoryIndex()
            mine.kept, mine.checkpoints = index.kept, index.checkpoints
            return mine
        index.broken = False
        return index

    def delete(self, number: int) -> None:
        self.kept.pop(number, None)


class HashModels:
    """`Models` of one embedder, and of others that a test adds by their name."""

    def __init__(self, embedder: HashEmbedder) -> None:
        self.mine = embedder
        self.others: dict[str, HashEmbedder] = {}

    def plan(self, model: str | None, language: str | None) -> Generation:
        embedder = self.others[model] if model else self.mine
        return Generation(0, embedder.model_id, embedder.dimensions, language)

    def trained(self, generation: Generation) -> Trained | None:
        for embedder in (self.mine, *self.others.values()):
            if embedder.model_id == generation.model_id:
                return Trained(embedder)
        return None
