"""Starting on a Qdrant server: what is checked, and what is said when it does not fit."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient, models
from starlette.applications import Starlette

from soma_core.adapters.qdrant.server import ServerIndex
from soma_core.adapters.qdrant.server_client import Address, connect
from soma_core.adapters.qdrant.server_opening import open_server_index
from soma_core.domain.errors import InvalidInput, ModelMismatch, SomaError, Unavailable
from soma_core.ports.index import Checkpoint, IndexQuery
from tests.contract.index import DIMENSIONS, NAMESPACE, lexical, point
from tests.support.ports import free_port
from tests.support.qdrant_engine import Collections
from tests.support.qdrant_http import qdrant_app
from tests.support.qdrant_process import QdrantProcess
from tests.support.server import serving

SECRET = "a-secret-that-nobody-may-read"
Open = Callable[..., ServerIndex]


@pytest.fixture
def open_index(qdrant: QdrantProcess) -> Iterator[Open]:
    """Opens indexes on the server of the tests, in one new collection unless another is named."""
    opened: list[ServerIndex] = []
    name = str(uuid4())

    def open_index(collection: str = name, **changes: object) -> ServerIndex:
        told = {"store_id": "store", "model_id": "model", "dimensions": DIMENSIONS, **changes}
        opened.append(open_server_index(Address(qdrant.url), collection, **told))  # type: ignore[arg-type]
        return opened[-1]

    yield open_index
    for index in opened:
        index.close()


@contextmanager
def refused(kind: type[SomaError], *parts: str) -> Iterator[None]:
    """The start fails within 10 seconds and says these things, not the key."""
    begun = time.monotonic()
    with pytest.raises(kind) as raised:
        yield
    assert time.monotonic() - begun < 10
    for part in parts:
        assert part in raised.value.message
    seen: BaseException | None = raised.value
    while seen:
        assert SECRET not in f"{seen} {seen!r}"
        seen = seen.__cause__


@contextmanager
def answering(folder: Path, **options: str) -> Iterator[str]:
    with serving(qdrant_app(Collections(folder), **options)) as port:  # type: ignore[arg-type]
        yield f"http://127.0.0.1:{port}"


def test_an_address_where_nothing_listens_is_named_with_its_setting() -> None:
    port = free_port()
    with refused(Unavailable, "QDRANT_HOST", f"127.0.0.1:{port}", "Connection refused"):
        connect(Address(f"http://127.0.0.1:{port}", api_key=SECRET, setting="QDRANT_HOST"), "any")


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with refused(Unavailable, "QDRANT_URL", f"127.0.0.1:{port}", "no answer in time"):
            connect(Address(f"http://127.0.0.1:{port}", api_key=SECRET), "any")


def test_a_host_without_an_address_is_named() -> None:
    with refused(Unavailable, "QDRANT_URL", "no-such-host.invalid:6333"):
        connect(Address("http://no-such-host.invalid", api_key=SECRET), "any")


def test_a_server_of_something_else_is_told_from_one_that_is_down() -> None:
    with serving(Starlette()) as port, refused(Unavailable, "QDRANT_URL", f"127.0.0.1:{port}", "HTTP 404"):
        connect(Address(f"http://127.0.0.1:{port}"), "any")


@pytest.mark.parametrize("version", ["1.18.3", "0.19.0", "1.9.9", "unknown"])
def test_an_older_server_is_refused_with_the_reason(tmp_path: Path, version: str) -> None:
    with answering(tmp_path, version=version) as url, refused(InvalidInput, "QDRANT_URL", version, "1.19", "words"):
        connect(Address(url), "any")


@pytest.mark.parametrize("version", ["1.19.0", "1.20.1-dev", "2.0.0"])
def test_a_newer_server_is_taken(tmp_path: Path, version: str) -> None:
    with answering(tmp_path, version=version) as url:
        connect(Address(url), "any").close()


@pytest.mark.parametrize("key", [SECRET, None])
def test_a_key_that_is_wrong_or_missing_is_named_and_not_shown(tmp_path: Path, key: str | None) -> None:
    with (
        answering(tmp_path, api_key="the right key") as url,
        refused(InvalidInput, "QDRANT_API_KEY", url.removeprefix("http://")),
    ):
        connect(Address(url, api_key=key), "any")


def test_the_right_key_opens(tmp_path: Path) -> None:
    with answering(tmp_path, api_key=SECRET) as url:
        index = open_server_index(
            Address(url, api_key=SECRET), "any", store_id="store", model_id="model", dimensions=DIMENSIONS
        )
        index.put(NAMESPACE, [point(1, "kafka")])
        assert lexical(index, "kafka") == [1]
        index.close()


def test_an_address_does_not_show_its_key() -> None:
    assert SECRET not in repr(Address("http://127.0.0.1", api_key=SECRET))


def test_grpc_is_used_where_the_server_offers_it(qdrant: QdrantProcess) -> None:
    offered = connect(Address(qdrant.url, grpc_port=qdrant.grpc_port), "any")
    silent = connect(Address(qdrant.url, grpc_port=free_port()), "any")
    unnamed = connect(Address(qdrant.url), "any")
    assert [client.init_options["prefer_grpc"] for client in (offered, silent, unnamed)] == [True, False, False]
    for client in (offered, silent, unnamed):
        client.close()


def test_a_collection_is_made_as_edge_keeps_its_vectors(open_index: Open, qdrant: QdrantProcess) -> None:
    name = str(uuid4())
    open_index(name)
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    params = client.get_collection(name).config.params
    assert isinstance(params.vectors, dict)
    assert params.vectors["dense"].datatype == models.Datatype.FLOAT16
    assert isinstance(params.vectors["dense"].quantization_config, models.TurboQuantization)
    assert params.sparse_vectors is not None
    assert params.sparse_vectors["words"].modifier == models.Modifier.IDF
    indexed = client.get_collection(name).payload_schema.keys()
    assert indexed == {"tenant", "memory", "version", "scope", "labels", "at"}
    client.close()


def test_a_collection_of_something_else_is_left_alone(open_index: Open, qdrant: QdrantProcess) -> None:
    client, name = QdrantClient(url=qdrant.url, check_compatibility=False), str(uuid4())
    client.create_collection(name, vectors_config={"mine": models.VectorParams(size=4, distance=models.Distance.DOT)})
    with refused(InvalidInput, "QDRANT_COLLECTION", name):
        open_index(name)
    assert client.get_collection(name).payload_schema == {}
    client.close()


def test_other_dimensions_are_refused_and_harm_nothing(open_index: Open) -> None:
    index = open_index()
    index.put(NAMESPACE, [point(1, "kafka")])
    index.flush(NAMESPACE, Checkpoint(1, 1))
    with refused(ModelMismatch, f"{DIMENSIONS} dimensions", "32", "soma reindex"):
        open_index(dimensions=32, model_id="short")
    again = open_index()
    assert again.checkpoint(NAMESPACE) == Checkpoint(1, 1)
    assert lexical(again, "kafka") == [1]


def test_another_model_is_refused_and_harms_nothing(open_index: Open) -> None:
    open_index().flush(NAMESPACE, Checkpoint(1, 1))
    with refused(ModelMismatch, "the model model", "other", "soma reindex"):
        open_index(model_id="other")
    assert open_index().checkpoint(NAMESPACE) == Checkpoint(1, 1)


def test_two_stores_in_one_collection_never_see_or_harm_each_other(open_index: Open) -> None:
    one, two = open_index(store_id="one"), open_index(store_id="two")
    one.put(NAMESPACE, [point(1, "kafka"), *(point(n, "tea") for n in range(10, 20))])
    before = one.search(NAMESPACE, IndexQuery("kafka", None, 10)).lexical[0].score
    two.put(NAMESPACE, [point(n, "kafka") for n in (1, 2, 3)])
    two.remove(NAMESPACE, point(1).memory_id, 2)
    two.flush(NAMESPACE, Checkpoint(9, 9))
    assert lexical(one, "kafka") == [1]
    assert one.search(NAMESPACE, IndexQuery("kafka", None, 10)).lexical[0].score == before
    two.reset(NAMESPACE)
    assert lexical(one, "kafka") == [1]
    assert one.checkpoint(NAMESPACE) == Checkpoint()


def test_a_collection_without_room_for_the_learned_arm_is_used_without_and_refused_with_a_sparse_model(
    qdrant: QdrantProcess, open_index: Open
) -> None:
    client, name = connect(Address(qdrant.url), "any"), str(uuid4())
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.close()
    index = open_index(name)
    index.put(NAMESPACE, [point(1, "kafka", learned={7: 1.0})])
    assert lexical(index, "kafka") == [1]
    with refused(InvalidInput, "SOMA_SPARSE_MODEL", name, "name another collection"):
        open_index(name, sparse_model_id="splade")
