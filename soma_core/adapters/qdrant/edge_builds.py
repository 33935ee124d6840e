"""The generations of the index in a folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.qdrant.shards import engine_failures
from soma_core.adapters.qdrant.turns import Turns
from soma_core.domain.generations import Generation

LATER = re.compile(r"g\d+")


class EdgeBuilds:
    """`IndexBuilds` under `folder`: the first generation in it, generation 2 in ``g2``, and so on.

    All of them take turns: what is being built gives way to the searches of what serves.
    """

    shared = False

    def __init__(self, folder: Path, *, store_id: str) -> None:
        self._folder = folder
        self._store_id = store_id
        self._turns = Turns()

    def open(self, generation: Generation) -> EdgeIndex:
        number = generation.number
        return EdgeIndex(
            self._folder if number == 1 else self._folder / f"g{number}",
            store_id=self._store_id,
            model_id=generation.model_id,
            dimensions=generation.dimensions,
            language=generation.language or "english",
            sparse_model_id=generation.sparse_model_id,
            turns=self._turns,
        )

    def delete(self, number: int) -> None:
        with engine_failures(f"generation {number} of the index could not be deleted"):
            for path in self._parts(number):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _parts(self, number: int) -> list[Path]:
        if not self._folder.is_dir():
            return []
        if number == 1:
            return [path for path in self._folder.iterdir() if not LATER.fullmatch(path.name)]
        return [path for path in [self._folder / f"g{number}"] if path.exists()]
