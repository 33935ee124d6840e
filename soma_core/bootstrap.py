"""From settings to a working engine: chooses the adapters. It starts nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from embeddings.batching import BatchingEmbedder
from embeddings.files import ModelFiles
from embeddings.onnx import OnnxEmbedder
from embeddings.reranker import OnnxReranker
from embeddings.resolve import resolve
from embeddings.sparse import OnnxSparseModel
from soma_core.adapters.folder import FolderLock
from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.adapters.sqlite.spare import free_bytes
from soma_core.domain.errors import InvalidInput, ModelMismatch
from soma_core.engine import Soma
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.embedder import Embedder
from soma_core.ports.index import VectorIndex
from soma_core.ports.records import RecordStore
from soma_core.ports.sparse import SparseModel
from soma_core.services.timing import Stopwatch
from soma_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from soma_core.adapters.postgres.records import PostgresRecordStore


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
    Raises `FolderInUse`, `StoreCorrupt`, `ModelMissing`, `ModelMismatch`, `InvalidInput`, `Unavailable`.
    """
    settings = settings or load_settings(None, **arguments)
    with contextlib.ExitStack() as stack:
        lock = lock or FolderLock(settings.home)
        stack.callback(lock.release)
        files = resolve(settings.embedding_model)
        sparse: SparseModel | None = OnnxSparseModel(settings.sparse_model) if settings.sparse_model else None
        records = _open_records(settings, clock)
        stack.callback(records.close)
        if not accept_model:
            _check_model(records, files.model_id)
        index = _open_index(settings, records.store_id, files, sparse, accept_model=accept_model)
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
            has_room=lambda: free_bytes(index_path(settings.home)) >= settings.disk_reserve,
            on_close=lock.release,
        )
        stack.pop_all()
        return soma


def index_place(settings: Settings) -> str:
    """Where the index is, for a message."""
    if _qdrant(settings):
        return f"the collection {settings.qdrant_collection!r} on the Qdrant server"
    return str(index_path(settings.home))


def ask_index_server(settings: Settings) -> str | None:
    """What the index's server says of itself; None without one. Raises `Unavailable`, `InvalidInput`."""
    if (server := _qdrant(settings)) is None:
        return None
    with _server_extra(server[1]):
        from soma_core.adapters.qdrant.server_client import Address, describe
    address = Address(*server, settings.qdrant_api_key, settings.qdrant_grpc_port)
    return describe(address, settings.qdrant_collection)


def _open_index(
    settings: Settings, store_id: str, files: ModelFiles, sparse: SparseModel | None, *, accept_model: bool
) -> VectorIndex:
    """On the Qdrant server, if one is set; else in this process, in the data folder."""
    sparse_model_id = sparse.model_id if sparse else None
    if (server := _qdrant(settings)) is None:
        return EdgeIndex(
            index_path(settings.home),
            store_id=store_id,
            model_id=files.model_id,
            dimensions=files.dimensions,
            language=settings.language,
            sparse_model_id=sparse_model_id,
        )
    with _server_extra(server[1]):
        from soma_core.adapters.qdrant.server_client import Address
        from soma_core.adapters.qdrant.server_opening import open_server_index
    return open_server_index(
        Address(*server, settings.qdrant_api_key, settings.qdrant_grpc_port),
        settings.qdrant_collection,
        store_id=store_id,
        model_id=files.model_id,
        dimensions=files.dimensions,
        language=settings.language,
        sparse_model_id=sparse_model_id,
        accept_model=accept_model,
    )


def _qdrant(settings: Settings) -> tuple[str, str] | None:
    """The address of the Qdrant server and the variable that it comes from."""
    if settings.qdrant_url:
        return settings.qdrant_url, "QDRANT_URL"
    if (host := settings.qdrant_host) is None:
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.qdrant_port}", "QDRANT_HOST"


@contextlib.contextmanager
def _server_extra(setting: str) -> Iterator[None]:
    """Say what to install where a driver is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{setting}: needs the extra `server`: pip install 'soma-fractal-memory[server]'"
        raise InvalidInput(message, fields=(setting,)) from error


def _open_records(settings: Settings, clock: Clock) -> SqliteRecordStore | PostgresRecordStore:
    """The records in the database that is named, else in the data folder."""
    if settings.postgres_url is None:
        path = records_path(settings.home)
        return SqliteRecordStore(path, reserve_bytes=settings.disk_reserve, clock=clock)
    with _server_extra("POSTGRES_URL"):
        from soma_core.adapters.postgres.migrate import migrate
        from soma_core.adapters.postgres.records import PostgresRecordStore
    if settings.migrate_on_start:
        migrate(settings.postgres_url)
    return PostgresRecordStore(settings.postgres_url, pool_size=settings.postgres_pool_size, clock=clock)


def _check_model(records: RecordStore, model_id: str) -> None:
    serving = records.serving_model()
    if serving is None:
        records.serve_model(model_id)
    elif serving != model_id:
        raise ModelMismatch(
            f"the index was built with the model {serving}, but SOMA_EMBEDDING_MODEL gives {model_id}: set it back, "
            "or run `soma reindex` to rebuild the index from the records with the new model",
            fields=("SOMA_EMBEDDING_MODEL",),
        )
