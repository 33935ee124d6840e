"""From an address to an index on a Qdrant server that fits the records and the model."""

from __future__ import annotations

from collections.abc import Callable

from qdrant_client import QdrantClient

from soma_core.adapters.qdrant.server import ServerIndex
from soma_core.adapters.qdrant.server_client import START_SECONDS, Address, connect, starting
from soma_core.adapters.qdrant.server_tenants import find_stamps, whose
from soma_core.domain.errors import ModelMismatch


def open_server_index(
    address: Address,
    collection: str,
    *,
    store_id: str,
    model_id: str,
    dimensions: int | None,
    language: str = "english",
    sparse_model_id: str | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> ServerIndex:
    """Connect, check the server and the collection, and make that where there is none.

    `is_wanted` as `ServerIndex` has it.
    Raises `Unavailable`, `InvalidInput` and `ModelMismatch`, which name the setting, and the host where it matters.
    """
    client = connect(address, collection)
    try:
        with starting(address):
            index = ServerIndex(
                client,
                collection,
                store_id=store_id,
                model_id=model_id,
                dimensions=dimensions,
                language=language,
                sparse_model_id=sparse_model_id,
                is_wanted=is_wanted,
            )
            _check_model(client, collection, store_id, model_id)
            return index
    except BaseException:
        client.close()
        raise


def _check_model(client: QdrantClient, collection: str, store_id: str, model_id: str) -> None:
    """Refuse where the store has indexes here and all are of other models."""
    store, model = whose(store_id, model_id)
    others = find_stamps(client, collection, store, without=model, limit=1, seconds=START_SECONDS)
    if others and not find_stamps(client, collection, model, limit=1, seconds=START_SECONDS):
        raise ModelMismatch(
            f"the collection {collection!r} was built with the model {others[0]['model_id']}, but "
            f"SOMA_EMBEDDING_MODEL gives {model_id}: set it back, or run `soma reindex` to rebuild the index from the "
            "records with this model",
            fields=("SOMA_EMBEDDING_MODEL", "QDRANT_COLLECTION"),
        )
