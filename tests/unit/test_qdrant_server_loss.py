"""A Qdrant server that goes away, comes back, or has lost what it held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient

from soma_core.adapters.qdrant.server import ASK_SECONDS, ServerIndex
from soma_core.adapters.qdrant.server_client import Address
from soma_core.adapters.qdrant.server_opening import open_server_index
from soma_core.domain.errors import Unavailable
from soma_core.ports.index import Checkpoint, IndexQuery
from tests.contract.index import DIMENSIONS, NAMESPACE, held, lexical, point, unit
from tests.support.qdrant_process import QdrantProcess


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantProcess]:
    process = QdrantProcess(tmp_path_factory.mktemp("qdrant"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def server(process: QdrantProcess) -> Iterator[QdrantProcess]:
    """A server that the test may kill and pause: it is for these tests only."""
    yield process
    process.resume()
    if not process.alive:
        process.start()


@pytest.fixture
def collection() -> str:
    return str(uuid4())


@pytest.fixture(params=["REST", "gRPC"])
def index(server: QdrantProcess, collection: str, request: pytest.FixtureRequest) -> Iterator[ServerIndex]:
    address = Address(server.url, grpc_port=server.grpc_port if request.param == "gRPC" else None)
    index = open_server_index(address, collection, store_id="store", model_id="model", dimensions=DIMENSIONS)
    yield index
    index.close()


def delete_collection(server: QdrantProcess, collection: str) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    client.delete_collection(collection)
    client.close()


def test_a_lost_server_is_unavailable_and_used_again_when_it_is_back(server: QdrantProcess, index: ServerIndex) -> None:
    index.put(NAMESPACE, [point(1, "kafka")])
    index.flush(NAMESPACE, Checkpoint(1, 1))
    server.kill()
    for call in (
        lambda: lexical(index, "kafka"),
        lambda: index.put(NAMESPACE, [point(2)]),
        lambda: index.remove(NAMESPACE, point(1).memory_id, 2),
        lambda: index.flush(NAMESPACE, Checkpoint(2, 2)),
        lambda: index.checkpoint(NAMESPACE),
        lambda: held(index),
    ):
        with pytest.raises(Unavailable):
            call()
    server.start()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            assert lexical(index, "kafka") == [1]
            break
        except Unavailable:
            time.sleep(0.1)
    assert index.checkpoint(NAMESPACE) == Checkpoint(1, 1)
    assert list(index.rebuilt()) == []


def test_a_server_that_hangs_does_not_hold_up_a_search(server: QdrantProcess, index: ServerIndex) -> None:
    index.put(NAMESPACE, [point(1, "kafka")])
    server.pause()
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        index.search(NAMESPACE, IndexQuery("kafka", unit(1), 10))
    assert time.monotonic() - begun < ASK_SECONDS + 2
    server.resume()
    assert lexical(index, "kafka") == [1]


def test_a_collection_that_was_deleted_is_made_anew_and_its_owner_starts_over(
    server: QdrantProcess, collection: str, index: ServerIndex
) -> None:
    for namespace in (NAMESPACE, "other"):
        index.put(namespace, [point(1, "kafka")])
        index.flush(namespace, Checkpoint(7, 7))
    delete_collection(server, collection)
    with pytest.raises(Unavailable, match="was gone"):
        lexical(index, "kafka")
    assert sorted(sentence.split("'")[1] for sentence in index.rebuilt()) == [NAMESPACE, "other"]
    index.put(NAMESPACE, [point(2, "kafka")])
    index.flush(NAMESPACE, Checkpoint(8, 8))
    assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)
    index.flush(NAMESPACE, Checkpoint(9, 9))
    assert index.checkpoint(NAMESPACE) == Checkpoint(9, 9)
    assert lexical(index, "kafka") == [2]


def test_a_collection_that_was_emptied_is_noticed_by_a_search(
    server: QdrantProcess, collection: str, index: ServerIndex
) -> None:
    index.put(NAMESPACE, [point(1, "kafka")])
    index.flush(NAMESPACE, Checkpoint(7, 7))
    delete_collection(server, collection)
    other = open_server_index(
        Address(server.url), collection, store_id="another", model_id="model", dimensions=DIMENSIONS
    )
    other.close()
    assert lexical(index, "kafka") == []
    (sentence,) = index.rebuilt()
    assert NAMESPACE in sentence
    assert "deleted" in sentence
    assert index.checkpoint(NAMESPACE) == Checkpoint(0, 0)


def test_a_closed_index_is_unavailable(index: ServerIndex) -> None:
    index.close()
    with pytest.raises(Unavailable, match="closed"):
        lexical(index, "kafka")


def test_threads_that_use_a_namespace_first_at_once_lose_nothing(index: ServerIndex) -> None:
    names = [f"space {n}" for n in range(8)]
    together = threading.Barrier(6)

    def use(number: int) -> None:
        for name in names:
            together.wait(20)
            if number % 2:
                index.checkpoint(name)
            index.put(name, [point(number, "kafka")])
            index.checkpoint(name)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(index.rebuilt()) == []
    for name in names:
        index.flush(name, Checkpoint(6, 6))
        assert index.checkpoint(name) == Checkpoint(6, 6)
        assert lexical(index, "kafka", namespace=name) == list(range(6))
