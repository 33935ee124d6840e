"""The index contract, run by every adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from qdrant_client import QdrantClient

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.qdrant.server import ServerIndex
from soma_core.ports.index import VectorIndex
from tests.contract.index import DIMENSIONS, IndexContract, Reopen
from tests.support.qdrant_local import LocalQdrant


class TestEdgeIndex(IndexContract):
    @pytest.fixture
    def opened(self) -> Iterator[list[EdgeIndex]]:
        """Every index of the test; the last one is open."""
        indexes: list[EdgeIndex] = []
        yield indexes
        for index in indexes:
            index.close()

    @pytest.fixture
    def reopen(self, tmp_path: Path, opened: list[EdgeIndex]) -> Reopen:
        def reopen(store_id: str = "store", model_id: str = "model:int8") -> VectorIndex:
            if opened:
                opened[-1].close()
            opened.append(EdgeIndex(tmp_path, store_id=store_id, model_id=model_id, dimensions=DIMENSIONS, max_open=4))
            return opened[-1]

        return reopen

    @pytest.fixture
    def index(self, reopen: Reopen) -> VectorIndex:
        return reopen()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
@pytest.mark.filterwarnings("ignore:Local mode performs exact")
class TestServerIndexInTheClient(IndexContract):
    """The client's own imitation of a server, in this process."""

    @pytest.fixture
    def client(self) -> QdrantClient:
        return cast(QdrantClient, LocalQdrant())

    @pytest.fixture
    def reopen(self, client: QdrantClient) -> Reopen:
        def reopen(store_id: str = "store", model_id: str = "model:int8") -> VectorIndex:
            return ServerIndex(
                client, "contract", store_id=store_id, model_id=model_id, dimensions=DIMENSIONS, max_open=4
            )

        return reopen

    @pytest.fixture
    def index(self, reopen: Reopen) -> VectorIndex:
        return reopen()
