"""Prepared data folders, and the model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from embeddings.onnx import OnnxEmbedder
from embeddings.resolve import resolve
from scripts.bench.figures import say
from scripts.bench.texts import texts
from soma_core.domain.memory import NewMemory, Scope
from soma_core.settings import Settings, load_settings
from soma_mcp.sharing import SharedSoma

BATCH = 500
"""As many as `soma store-bulk` stores at once."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement is given."""

    folder: Path
    """Everything that is written goes here."""
    quick: bool

    def times(self, wanted: int, quick: int) -> int:
        """How often to measure."""
        return quick if self.quick else wanted

    @contextmanager
    def empty(self) -> Iterator[Path]:
        """A data folder that does not exist yet."""
        with TemporaryDirectory(dir=self.folder, prefix="home-") as parent:
            yield Path(parent) / "home"

    @contextmanager
    def filled(self, number: int) -> Iterator[Path]:
        """A copy of a data folder with so many memories, all embedded and flushed."""
        original = self.folder / f"store-{number}"
        if not original.exists():
            self._fill(original, number)
        with self.empty() as home:
            shutil.copytree(original, home)
            yield home

    def _fill(self, original: Path, number: int) -> None:
        say(f"preparing a store of {number} memories")
        draft = original.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        shared = SharedSoma(settings(draft), stay=False)
        try:
            store_and_index(shared, memories(number))
        finally:
            shared.close()
        draft.rename(original)


def settings(home: Path) -> Settings:
    """Those of the servers that are measured: nothing from the environment."""
    return load_settings({"SOMA_HOME": str(home), "SOMA_DISK_RESERVE": "0"})


def scope() -> Scope:
    return Scope("api_ns", "bench")


def memories(number: int) -> list[NewMemory]:
    return [NewMemory.parse(text) for text in texts(number)]


def store_and_index(shared: SharedSoma, wanted: list[NewMemory]) -> None:
    """What `soma store-bulk` does once it has read its file."""
    for start in range(0, len(wanted), BATCH):
        shared.store_many(scope(), wanted[start : start + BATCH])
    shared.index(scope())


def embedder() -> OnnxEmbedder:
    """The packaged model, loaded."""
    found = OnnxEmbedder(resolve(None))
    found.load()
    return found
