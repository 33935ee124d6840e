"""The generations of the index on a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from qdrant_client import QdrantClient

from soma_core.adapters.qdrant.server import WRITE_SECONDS, ServerIndex
from soma_core.adapters.qdrant.server_client import Address, Gone, connect, server_failures
from soma_core.adapters.qdrant.server_opening import open_server_index
from soma_core.adapters.qdrant.server_tenants import STAMPS, delete_tenant, find_stamps, whose
from soma_core.domain.generations import Generation


class ServerBuilds:
    """`IndexBuilds` in collections: the first generation in the one that is named, which other stores may share.

    Each later one is in a collection of its own, named after that one, its number and the store.
    """

    shared = True

    def __init__(
        self,
        address: Address,
        collection: str,
        *,
        store_id: str,
        is_wanted: Callable[[int], bool] = lambda number: True,
    ) -> None:
        """`is_wanted`: whether a generation serves or is being built; the collection of another is not made again."""
        self._address = address
        self._collection = collection
        self._store_id = store_id
        self._is_wanted = is_wanted

    def name(self, number: int) -> str:
        """The collection of a generation."""
        return self._collection if number == 1 else f"{self._collection}_g{number}_{self._store_id[:8]}"

    def open(self, generation: Generation) -> ServerIndex:
        return open_server_index(
            self._address,
            self.name(generation.number),
            store_id=self._store_id,
            model_id=generation.model_id,
            dimensions=generation.dimensions,
            language=generation.language or "english",
            sparse_model_id=generation.sparse_model_id,
            is_wanted=lambda: self._is_wanted(generation.number),
        )

    def delete(self, number: int) -> None:
        name = self.name(number)
        try:
            with (
                closing(connect(self._address, name)) as client,
                server_failures(f"generation {number} of the index could not be deleted"),
            ):
                if number == 1 and client.collection_exists(name) and self._is_shared(client, name):
                    self._delete_own(client, name)
                else:
                    client.delete_collection(name)
        except Gone:
            return

    def _is_shared(self, client: QdrantClient, name: str) -> bool:
        store, _ = whose(self._store_id, "")
        return bool(find_stamps(client, name, STAMPS, without=store, limit=1, seconds=WRITE_SECONDS))

    def _delete_own(self, client: QdrantClient, name: str) -> None:
        store, _ = whose(self._store_id, "")
        while found := find_stamps(client, name, store, seconds=WRITE_SECONDS):
            for entries in found:
                delete_tenant(client, name, entries["stamps"], WRITE_SECONDS)
