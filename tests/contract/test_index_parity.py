"""Edge and a Qdrant server rank alike: the same points, filters and scores."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import cache
from uuid import uuid4

import pytest

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.adapters.qdrant.server_client import Address, connect
from soma_core.adapters.qdrant.server_opening import open_server_index
from soma_core.domain.memory import MemoryType
from soma_core.domain.query import Filter
from soma_core.ports.index import IndexPoint, IndexQuery, Match, VectorIndex
from tests.contract.index import DIMENSIONS, memory, point, unit
from tests.support.qdrant_process import QdrantProcess

NAMESPACES = ["api_ns", "it's 100% %s", "naïve 🦊 記憶", "a/b", "n" * 300]
TEXTS = 2_000
QUERIES = 200
CANDIDATES = 100
TAGS = ("red", "green", "blue")
VOCABULARY = [
    f"{start}{middle}{end}" for start in "bcdfghklmn" for middle in "aeiou" for end in ("ra", "to", "sil", "x")
]


def sentence(rng: random.Random, words: int) -> list[str]:
    """Few words often and many rarely, as in language."""
    return [VOCABULARY[min(int(rng.paretovariate(0.6)) - 1, len(VOCABULARY) - 1)] for _ in range(words)]


def meaning(words: Sequence[str]) -> list[float]:
    """Near for texts that share words."""
    total = [sum(numbers) for numbers in zip(*(unit(word) for word in words), strict=True)]
    length = math.sqrt(sum(x * x for x in total))
    return [x / length for x in total]


@cache
def generated() -> Sequence[tuple[str, IndexPoint]]:
    """The points of all namespaces, made once: their vectors take longer than a server does."""
    return tuple(_generated())


def _generated() -> Iterator[tuple[str, IndexPoint]]:
    rng = random.Random(14)
    for number in range(TEXTS):
        words = sentence(rng, rng.randint(4, 60))
        yield (
            NAMESPACES[number % len(NAMESPACES)],
            point(
                number % 900,  # the same ids in several namespaces
                " ".join(words),
                version=1 + number // 900,
                vector=meaning(words),
                tags=tuple(rng.sample(TAGS, rng.randint(0, 2))),
                type=rng.choice(list(MemoryType)),
                current=rng.random() > 0.1,
            ),
        )


def asked() -> Iterator[tuple[str, IndexQuery]]:
    rng = random.Random(41)
    for number in range(QUERIES):
        words = sentence(rng, rng.randint(2, 8))
        wanted = Filter(tags=(rng.choice(TAGS),)) if number % 4 == 0 else Filter()
        yield NAMESPACES[number % len(NAMESPACES)], IndexQuery(" ".join(words), meaning(words), CANDIDATES, wanted)


def fill(index: VectorIndex) -> None:
    for namespace in NAMESPACES:
        index.put(namespace, [each for name, each in generated() if name == namespace])
        index.retire(namespace, memory(1), 2)
        index.remove(namespace, memory(2), 3)


def top(matches: Sequence[Match]) -> list[tuple[int, int, int]]:
    return [(match.memory, match.version, match.passage) for match in matches[:10]]


def check_alike(one: VectorIndex, other: VectorIndex) -> None:
    fill(one)
    fill(other)
    found = 0
    for namespace, query in asked():
        here, there = one.search(namespace, query), other.search(namespace, query)
        for arm in ("dense", "lexical"):
            mine, theirs = getattr(here, arm), getattr(there, arm)
            found += len(mine)
            assert len(mine) == len(theirs)
            assert top(mine) == top(theirs)
            assert [m.score for m in mine[:10]] == pytest.approx([m.score for m in theirs[:10]], rel=1e-6, abs=1e-9)
    assert found > QUERIES * CANDIDATES


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    folder = tmp_path_factory.mktemp("edge")
    index = EdgeIndex(folder, store_id="store", model_id="model", dimensions=DIMENSIONS)
    yield index
    index.close()


@pytest.mark.parametrize("way", ["REST", "gRPC"])
def test_edge_and_the_server_of_the_tests_give_the_same_top_ten(
    edge: EdgeIndex, qdrant: QdrantProcess, way: str
) -> None:
    address = Address(qdrant.url, grpc_port=qdrant.grpc_port if way == "gRPC" else None)
    server = open_server_index(address, str(uuid4()), store_id="store", model_id="model", dimensions=DIMENSIONS)
    check_alike(edge, server)
    server.close()


def test_edge_and_a_real_server_give_the_same_top_ten(edge: EdgeIndex, real_qdrant: dict[str, str]) -> None:
    address = Address(real_qdrant["QDRANT_URL"], api_key=real_qdrant.get("QDRANT_API_KEY"))
    collection = f"parity-{uuid4()}"
    server = open_server_index(address, collection, store_id="store", model_id="model", dimensions=DIMENSIONS)
    try:
        check_alike(edge, server)
    finally:
        server.close()
        client = connect(address, collection)
        client.delete_collection(collection)
        client.close()
