"""The index contract, run by every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.qdrant.server import ServerIndex
from soma_core.adapters.qdrant.server_client import Address, connect
from soma_core.ports.index import VectorIndex
from tests.contract.index import DIMENSIONS, IndexContract, Reopen
from tests.support.qdrant_local import LocalQdrant
from tests.support.qdrant_process import QdrantProcess

Connected = Callable[[], QdrantClient]


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
        def reopen(
            store_id: str = "store", model_id: str = "model:int8", sparse_model_id: str | None = None
        ) -> VectorIndex:
            if opened:
                opened[-1].close()
            index = EdgeIndex(
                tmp_path,
                store_id=store_id,
                model_id=model_id,
                dimensions=DIMENSIONS,
                sparse_model_id=sparse_model_id,
                max_open=4,
            )
            opened.append(index)
            return index

        return reopen

    @pytest.fixture
    def index(self, reopen: Reopen) -> VectorIndex:
        return reopen()


class ServerContract(IndexContract):
    """A subclass gives `connected`, which makes a client each time it is called."""

    @pytest.fixture
    def connected(self) -> Connected:
        raise NotImplementedError

    @pytest.fixture
    def collection(self) -> str:
        return f"contract-{uuid4()}"

    @pytest.fixture
    def opened(self, connected: Connected, collection: str) -> Iterator[list[ServerIndex]]:
        indexes: list[ServerIndex] = []
        yield indexes
        for index in indexes:
            index.close()
        client = connected()
        client.delete_collection(collection)
        client.close()

    @pytest.fixture
    def reopen(self, connected: Connected, collection: str, opened: list[ServerIndex]) -> Reopen:
        def reopen(
            store_id: str = "store", model_id: str = "model:int8", sparse_model_id: str | None = None
        ) -> VectorIndex:
            if opened:
                opened[-1].close()
            index = ServerIndex(
                connected(),
                collection,
                store_id=store_id,
                model_id=model_id,
                dimensions=DIMENSIONS,
                sparse_model_id=sparse_model_id,
                max_open=4,
            )
            opened.append(index)
            return index

        return reopen

    @pytest.fixture
    def index(self, reopen: Reopen) -> VectorIndex:
        return reopen()


def lasting(address: Address) -> Iterator[QdrantClient]:
    """A client that stays open when an index closes it: making one takes as long as a whole test."""
    client = connect(address, "any")
    close = client.close
    client.close = lambda: None
    yield client
    close()


@pytest.fixture(scope="module")
def over_rest(qdrant: QdrantProcess) -> Iterator[QdrantClient]:
    yield from lasting(Address(qdrant.url))


@pytest.fixture(scope="module")
def over_grpc(qdrant: QdrantProcess) -> Iterator[QdrantClient]:
    yield from lasting(Address(qdrant.url, grpc_port=qdrant.grpc_port))


@pytest.mark.timeout(300)  # it compares with every point, in Python
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
@pytest.mark.filterwarnings("ignore:Local mode performs exact")
class TestServerIndexInTheClient(ServerContract):
    """The client's own imitation of a server, in this process."""

    for_threads = False

    @pytest.fixture
    def connected(self) -> Connected:
        client = cast(QdrantClient, LocalQdrant())
        return lambda: client


class TestServerIndexOverHttp(ServerContract):
    """A server of the tests with Edge behind it."""

    @pytest.fixture
    def connected(self, over_rest: QdrantClient) -> Connected:
        return lambda: over_rest


class TestServerIndexOverGrpc(ServerContract):
    """The same server by its other door."""

    @pytest.fixture
    def connected(self, over_grpc: QdrantClient) -> Connected:
        return lambda: over_grpc


class TestServerIndexOnARealServer(ServerContract):
    """Over gRPC where that server offers it."""

    @pytest.fixture
    def connected(self, real_qdrant: dict[str, str]) -> Connected:
        return lambda: connect(Address(real_qdrant["QDRANT_URL"], api_key=real_qdrant.get("QDRANT_API_KEY")), "any")
