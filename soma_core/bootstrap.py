"""From settings to a working engine: chooses the adapters. It starts nothing."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embeddings.batching import BatchingEmbedder
from embeddings.onnx import OnnxEmbedder
from embeddings.reranker import OnnxReranker
from embeddings.resolve import resolve
from embeddings.sparse import OnnxSparseModel
from soma_core.adapters.folder import FolderLock
from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.adapters.sqlite.spare import free_bytes
from soma_core.domain.errors import ModelMismatch
from soma_core.engine import Soma
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.embedder import Embedder
from soma_core.ports.index import VectorIndex
from soma_core.ports.sparse import SparseModel
from soma_core.services.timing import Stopwatch
from soma_core.settings import Settings, load_settings


def soma_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("soma-fractal-memory")
    except PackageNotFoundError:
        return "0+unknown"


def records_path(home: Path) -> Path:
    """Where the records of a data folder are."""
    return home / "records.db"


def index_path(home: Path) -> Path:
    """Where the index of a data folder is; it can be deleted, and is then rebuilt."""
    return home / "index"


def create_memory_system(
    settings: Settings | None = None,
    *,
    lock: FolderLock | None = None,
    accept_model: bool = False,
    clock: Clock = system_clock,
    stopwatch: Stopwatch | None = None,
    **arguments: str | Path | None,
) -> Soma:
    """Open the memory of a data folder in this process; close it when done.

    `arguments` are fields of `Settings` and go before the environment. With `accept_model` an index that was built
    with another model is no reason to refuse; only `reindex` makes sense then. A `stopwatch` is told how long questions
    take to embed (`embed_query`) and to look up (`search`).
    Raises `FolderInUse`, `StoreCorrupt`, `ModelMissing`, `ModelMismatch`, `InvalidInput`.
    """
    settings = settings or load_settings(None, **arguments)
    with contextlib.ExitStack() as stack:
        lock = lock or FolderLock(settings.home)
        stack.callback(lock.release)
        files = resolve(settings.embedding_model)
        sparse: SparseModel | None = OnnxSparseModel(settings.sparse_model) if settings.sparse_model else None
        path = records_path(settings.home)
        records = SqliteRecordStore(path, reserve_bytes=settings.disk_reserve, clock=clock)
        stack.callback(records.close)
        if not accept_model:
            _check_model(records, files.model_id)
        index: VectorIndex = EdgeIndex(
            index_path(settings.home),
            store_id=records.store_id,
            model_id=files.model_id,
            dimensions=files.dimensions,
            language=settings.language,
            sparse_model_id=sparse.model_id if sparse else None,
        )
        stack.callback(index.close)
        embedder: Embedder = BatchingEmbedder(OnnxEmbedder(files))
        if stopwatch:
            index = stopwatch.watch(index, ["search"])
            embedder = stopwatch.watch(embedder, ["embed_query"])
            sparse = stopwatch.watch(sparse, ["weigh"]) if sparse else None
        soma = Soma(
            records,
            records.log(),
            index,
            embedder,
            tokens=records.tokens(),
            version=soma_version(),
            knows=files.languages,
            stems=settings.language,
            reranker=OnnxReranker(Path(settings.reranker_model)) if settings.reranker_model else None,
            sparse=sparse,
            clock=clock,
            has_room=lambda: free_bytes(path) >= settings.disk_reserve,
            on_close=lock.release,
        )
        stack.pop_all()
        return soma


def _check_model(records: SqliteRecordStore, model_id: str) -> None:
    serving = records.serving_model()
    if serving is None:
        records.serve_model(model_id)
    elif serving != model_id:
        raise ModelMismatch(
            f"the index was built with the model {serving}, but SOMA_EMBEDDING_MODEL gives {model_id}: set it back, "
            "or run `soma reindex` to rebuild the index from the records with the new model",
            fields=("SOMA_EMBEDDING_MODEL",),
        )
