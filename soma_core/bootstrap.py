"""From settings to a working engine: chooses the adapters. It starts nothing."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from embeddings.batching import BatchingEmbedder
from embeddings.onnx import OnnxEmbedder
from embeddings.resolve import resolve
from soma_core.adapters.folder import FolderLock
from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.adapters.sqlite.spare import free_bytes
from soma_core.domain.errors import InvalidInput, ModelMismatch
from soma_core.engine import Soma
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.records import RecordStore
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
    **arguments: str | Path | None,
) -> Soma:
    """Open the memory of a data folder in this process; close it when done.

    `arguments` are fields of `Settings` and go before the environment. With `accept_model` an index that was built
    with another model is no reason to refuse; only `reindex` makes sense then.
    Raises `FolderInUse`, `StoreCorrupt`, `ModelMissing`, `ModelMismatch`, `InvalidInput`, and `Unavailable` when the
    database cannot be reached.
    """
    settings = settings or load_settings(None, **arguments)
    with contextlib.ExitStack() as stack:
        lock = lock or FolderLock(settings.home)
        stack.callback(lock.release)
        files = resolve(settings.embedding_model)
        records = _open_records(settings, clock)
        stack.callback(records.close)
        if not accept_model:
            _check_model(records, files.model_id)
        index = EdgeIndex(
            index_path(settings.home),
            store_id=records.store_id,
            model_id=files.model_id,
            dimensions=files.dimensions,
            language=settings.language,
        )
        stack.callback(index.close)
        soma = Soma(
            records,
            records.log(),
            index,
            BatchingEmbedder(OnnxEmbedder(files)),
            tokens=records.tokens(),
            version=soma_version(),
            clock=clock,
            has_room=lambda: free_bytes(index_path(settings.home)) >= settings.disk_reserve,
            on_close=lock.release,
        )
        stack.pop_all()
        return soma


def _open_records(settings: Settings, clock: Clock) -> SqliteRecordStore | PostgresRecordStore:
    """The records in the database that is named, else in the data folder."""
    if settings.postgres_url is None:
        path = records_path(settings.home)
        return SqliteRecordStore(path, reserve_bytes=settings.disk_reserve, clock=clock)
    try:
        from soma_core.adapters.postgres.migrate import migrate
        from soma_core.adapters.postgres.records import PostgresRecordStore
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "POSTGRES_URL: is set, but the driver is not installed: pip install 'soma-fractal-memory[server]'",
            fields=("POSTGRES_URL",),
        ) from error
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
