"""From settings to a working engine: chooses the adapters. It starts nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from embeddings.absent import AbsentEmbedder
from embeddings.choice import Local
from embeddings.endpoint import Endpoint
from embeddings.reranker import OnnxReranker
from embeddings.sparse import OnnxSparseModel
from embeddings.supply import ModelSupply
from soma_core.adapters.folder import FolderLock
from soma_core.adapters.qdrant.edge_builds import EdgeBuilds
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.adapters.sqlite.spare import free_bytes
from soma_core.domain.validation import invalid
from soma_core.engine import Soma
from soma_core.ports.builds import Built, IndexBuilds, Trained
from soma_core.ports.cache import Cache
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.embedder import Embedder
from soma_core.ports.index import VectorIndex
from soma_core.ports.outbox import Outbox
from soma_core.ports.records import RecordStore
from soma_core.ports.sparse import SparseModel
from soma_core.ports.telemetry import NoTelemetry, Telemetry
from soma_core.servers import (
    bodies_pay,
    check_together,
    indexing_turn,
    kafka_address,
    open_cache,
    qdrant_server,
    server_extra,
)
from soma_core.services.caching import Bodies, CachingEmbedder
from soma_core.services.generations import serving_generation
from soma_core.services.timing import Stopwatch
from soma_core.services.tracking import take_over
from soma_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from soma_core.adapters.postgres.records import PostgresRecordStore


T = TypeVar("T")
log = logging.getLogger(__name__)


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
    telemetry: Telemetry | None = None,
    **arguments: str | Path | None,
) -> Soma:
    """Open the memory of a data folder in this process; close it when done.

    With records and index on servers nothing is in the folder, which is then not locked: any number may have it open.
    `arguments` are fields of `Settings` and go before the environment. With `accept_model` an index that was built
    with another model is no reason to refuse: it is searched by words until `reindex` has built another. A `stopwatch`
    is told how long questions take to embed (`embed_query`) and to look up (`search`); `telemetry` what caches had.
    Raises `FolderInUse`, `StoreCorrupt`, `ModelMissing`, `ModelMismatch`, `InvalidInput`, `Unavailable`.
    """
    settings = settings or load_settings(None, **arguments)
    telemetry = telemetry or NoTelemetry()
    check_together(settings)
    with contextlib.ExitStack() as stack:
        leaving = stack.enter_context(contextlib.ExitStack())
        if lock is None and not settings.distributed:
            lock = FolderLock(settings.home)
        if lock:
            leaving.callback(lock.release)
        records = _open_records(settings, clock)
        stack.callback(records.close)
        turn = indexing_turn(settings, records.store_id)
        stack.callback(turn.give_up if turn else lambda: None)
        cache = open_cache(settings, records.store_id)
        stack.callback(cache.close)
        models = _models(settings, stopwatch, cache, telemetry)
        leaving.callback(models.close)
        wanted = models.plan(None, None)
        serving = serving_generation(
            records, replace(wanted, number=1), accept_model=accept_model, in_place=not settings.eventing
        )
        builds = _builds(settings, records)
        index = builds.open(serving)
        stack.callback(index.close)
        outbox = _outbox(settings, records, index)
        absent = Trained(AbsentEmbedder(serving.model_id, serving.dimensions))
        trained = models.trained(serving) or absent
        soma = Soma(
            records,
            records.log(),
            Built(serving, stopwatch.watch(index, ["search"]) if stopwatch else index, trained),
            builds=builds,
            models=models,
            tokens=records.tokens(),
            version=soma_version(),
            reranker=OnnxReranker(Path(settings.reranker_model)) if settings.reranker_model else None,
            cache=cache,
            bodies=Bodies(records, cache if bodies_pay(settings) else None, telemetry),
            outbox=outbox,
            turn=turn,
            clock=clock,
            has_room=lambda: settings.distributed or free_bytes(index_path(settings.home)) >= settings.disk_reserve,
            on_close=leaving.close,
        )
        stack.pop_all()
        return soma


def model_choice(settings: Settings) -> Local | Endpoint:
    """The embedding model that was chosen. Raises `InvalidInput` where an endpoint is set by halves."""
    backend = settings.embedding_backend
    if backend != "remote" and settings.embedding_url:
        raise invalid("SOMA_EMBEDDING_URL", f"is set, and SOMA_EMBEDDING_BACKEND is {backend}, which does not use it")
    if backend == "transformers":
        return Local(settings.embedding_model, "transformers")
    if backend == "onnx":
        return Local(settings.embedding_model, threads=settings.embedding_threads)
    if settings.embedding_url is None or settings.embedding_model is None:
        lacking = "SOMA_EMBEDDING_MODEL" if settings.embedding_url else "SOMA_EMBEDDING_URL"
        raise invalid(
            lacking,
            "is not set; SOMA_EMBEDDING_BACKEND=remote needs the base address of an OpenAI-compatible API, such as "
            "https://api.openai.com/v1, and the name of a model there",
        )
    return Endpoint(
        settings.embedding_url,
        settings.embedding_model,
        settings.embedding_key,
        settings.embedding_dimensions,
        settings.embedding_timeout,
        settings.embedding_batch,
    )


def index_place(settings: Settings) -> str:
    """Where the index is, for a message."""
    if qdrant_server(settings):
        return f"the collection {settings.qdrant_collection!r} on the Qdrant server"
    return str(index_path(settings.home))


def ask_index_server(settings: Settings) -> str | None:
    """What the index's server says of itself; None without one. Raises `Unavailable`, `InvalidInput`."""
    if (server := qdrant_server(settings)) is None:
        return None
    with server_extra(server[1]):
        from soma_core.adapters.qdrant.server_client import Address, describe
    address = Address(*server, settings.qdrant_api_key, settings.qdrant_grpc_port)
    return describe(address, settings.qdrant_collection)


def _models(settings: Settings, stopwatch: Stopwatch | None, cache: Cache, telemetry: Telemetry) -> ModelSupply:
    def watched(adapter: T, method: str) -> T:
        return stopwatch.watch(adapter, [method]) if stopwatch else adapter

    sparse: SparseModel | None = None
    if settings.sparse_model:
        sparse = watched(OnnxSparseModel(settings.sparse_model), "weigh")

    def wrapped(embedder: Embedder) -> Embedder:
        return watched(CachingEmbedder(embedder, cache, telemetry), "embed_query")

    return ModelSupply(
        lambda model: model_choice(replace(settings, embedding_model=model) if model else settings),
        settings.language,
        sparse,
        wrapped,
        settings.embedding_threads,
    )


def _builds(settings: Settings, records: RecordStore) -> IndexBuilds:
    """On the Qdrant server, if one is set; else in this process, in the data folder."""
    if (server := qdrant_server(settings)) is None:
        return EdgeBuilds(index_path(settings.home), store_id=records.store_id)
    with server_extra(server[1]):
        from soma_core.adapters.qdrant.server_builds import ServerBuilds
        from soma_core.adapters.qdrant.server_client import Address
    return ServerBuilds(
        Address(*server, settings.qdrant_api_key, settings.qdrant_grpc_port),
        settings.qdrant_collection,
        store_id=records.store_id,
        is_wanted=lambda number: _is_wanted(records, number),
    )


def _is_wanted(records: RecordStore, number: int) -> bool:
    found = records.generations()
    return found is None or number in (found.serving.number, found.building and found.building.number)


def _open_records(settings: Settings, clock: Clock) -> SqliteRecordStore | PostgresRecordStore:
    """The records in the database that is named, else in the data folder."""
    if settings.postgres_url is None:
        path = records_path(settings.home)
        return SqliteRecordStore(path, reserve_bytes=settings.disk_reserve, clock=clock)
    with server_extra("POSTGRES_URL"):
        from soma_core.adapters.postgres.migrate import migrate
        from soma_core.adapters.postgres.records import PostgresRecordStore
    if settings.migrate_on_start:
        migrate(settings.postgres_url)
    return PostgresRecordStore(settings.postgres_url, pool_size=settings.postgres_pool_size, clock=clock)


@contextlib.contextmanager
def opened_outbox(settings: Settings) -> Iterator[Outbox]:
    """What is recorded and not everywhere, for a process that needs nothing else. Raises as the records do."""
    kafka_address(settings)
    with contextlib.closing(_open_records(settings, system_clock)) as records:
        if isinstance(records, SqliteRecordStore):
            raise invalid("POSTGRES_URL", "must be set: there is no outbox in a data folder")
        yield records.outbox()


def _outbox(settings: Settings, records: SqliteRecordStore | PostgresRecordStore, index: VectorIndex) -> Outbox | None:
    """What workers elsewhere have to bring into the index; None where this process does. Raises `InvalidInput`."""
    if isinstance(records, SqliteRecordStore):
        return None
    outbox = records.outbox()
    if settings.eventing:
        if outbox.begin() and (adopted := take_over(records.log(), index, outbox)):
            log.warning("%d changes from before go to the workers that index", adopted)
        return outbox
    if not settings.eventing_enabled:
        outbox.end()
    elif outbox.is_used():
        message = (
            "is not set, but workers elsewhere index what is recorded in this database: set it as they have it, or "
            "EVENTING_ENABLED=false, once they are stopped, to let this process index"
        )
        raise invalid("KAFKA_BOOTSTRAP_SERVERS", message)
    return None
