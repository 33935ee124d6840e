"""An engine over real records and the fakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import Filter, Recall, RecallQuery
from soma_core.domain.receipts import StoreReceipt
from soma_core.engine import Soma
from soma_core.ports.builds import Built, IndexBuilds, Models, Trained
from soma_core.ports.index import VectorIndex
from tests.support.builds import FIRST, HashModels, MemoryBuilds
from tests.support.clock import FixedClock
from tests.support.embedder import HashEmbedder
from tests.support.index import MemoryIndex

NAMESPACE = "api_ns"
SCOPE = Scope(NAMESPACE)


@dataclass
class Engine:
    """A Soma and what it stands on."""

    path: Path
    clock: FixedClock
    index: MemoryIndex
    """Of the first generation."""
    builds: MemoryBuilds
    models: HashModels
    embedder: HashEmbedder
    records: SqliteRecordStore
    soma: Soma
    room: bool = True

    def store(self, text: str, **fields: Any) -> StoreReceipt:
        return self.soma.store(SCOPE, NewMemory.parse(text, **fields))

    def forget(self, *receipts: StoreReceipt, purge: bool = False) -> None:
        self.soma.forget(SCOPE, [str(receipt.id) for receipt in receipts], purge=purge)

    def recall(self, question: str, *, filter: Filter | None = None, **options: Any) -> Recall:
        return self.soma.recall(SCOPE, RecallQuery.parse(question, filter=filter, **options))

    def texts(self, question: str, **options: Any) -> list[str]:
        return [hit.memory.text for hit in self.recall(question, **options).hits]

    def restart(self) -> None:
        """As after the death of the process: what was flushed and written is there, what was remembered is not."""
        self.records.close()
        self.records, self.soma = _opened(self)

    @property
    def points(self) -> list[Any]:
        return list(self.index.kept.get(NAMESPACE, {}).values())


def _opened(engine: Engine) -> tuple[SqliteRecordStore, Soma]:
    records = SqliteRecordStore(engine.path, reserve_bytes=0, clock=engine.clock)
    serving = (records.generations() or Generations(FIRST)).serving
    soma = soma_over(
        records,
        engine.builds.open(serving),
        engine.models.trained(serving),
        serving,
        builds=engine.builds,
        models=engine.models,
        clock=engine.clock,
        has_room=lambda: engine.room,
    )
    return records, soma


def soma_over(
    records: SqliteRecordStore | PostgresRecordStore,
    index: VectorIndex,
    trained: Trained | None = None,
    generation: Generation = FIRST,
    *,
    builds: IndexBuilds | None = None,
    models: Models | None = None,
    **options: Any,
) -> Soma:
    """An engine over real records and an index."""
    return Soma(
        records,
        records.log(),
        Built(generation, index, trained or Trained(HashEmbedder())),
        builds=builds or MemoryBuilds(),
        models=models or HashModels(HashEmbedder()),
        tokens=records.tokens(),
        version="0",
        **options,
    )


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    engine = Engine.__new__(Engine)
    engine.path, engine.clock, engine.room = folder / "records.db", FixedClock(), True
    engine.embedder = HashEmbedder()
    engine.builds, engine.models = MemoryBuilds(), HashModels(engine.embedder)
    engine.index = engine.builds.open(FIRST)
    engine.records, engine.soma = _opened(engine)
    yield engine
    engine.records.close()
