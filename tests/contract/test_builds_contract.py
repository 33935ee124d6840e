"""The generations of an index, by every adapter: each in a place of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient

from soma_core.adapters.qdrant.edge_builds import EdgeBuilds
from soma_core.adapters.qdrant.server_builds import ServerBuilds
from soma_core.adapters.qdrant.server_client import Address
from soma_core.domain.errors import Unavailable
from soma_core.domain.generations import Generation
from soma_core.ports.builds import IndexBuilds
from soma_core.ports.index import Checkpoint, IndexQuery, VectorIndex
from tests.contract.index import DIMENSIONS, NAMESPACE, lexical, point
from tests.support.qdrant_process import QdrantProcess

FIRST = Generation(1, "model:int8", DIMENSIONS, "english")
SECOND = Generation(2, "other:int8", DIMENSIONS, "english")
WIDE = Generation(2, "wide:int8", 2 * DIMENSIONS, "english")
Opened = Callable[[Generation], VectorIndex]
OfStore = Callable[[str], IndexBuilds]


class BuildsContract:
    """A subclass gives `of_store`: the generations of a store, in the place of the test."""

    @pytest.fixture
    def of_store(self) -> OfStore:
        raise NotImplementedError

    @pytest.fixture
    def builds(self, of_store: OfStore) -> IndexBuilds:
        return of_store("the-store")

    @pytest.fixture
    def opened(self, builds: IndexBuilds) -> Iterator[Opened]:
        """Opens a generation for the test."""
        with ExitStack() as stack:
            yield lambda generation: stack.enter_context(closing(builds.open(generation)))

    def test_generations_with_other_dimensions_stand_side_by_side(self, opened: Opened) -> None:
        old, new = opened(FIRST), opened(WIDE)
        old.put(NAMESPACE, [point(1, "kafka", vector=[1.0] + [0.0] * (DIMENSIONS - 1))])
        new.put(NAMESPACE, [point(2, "kafka", vector=[1.0] + [0.0] * (2 * DIMENSIONS - 1))])
        new.flush(NAMESPACE, Checkpoint(7, 7))
        assert (lexical(old, "kafka"), lexical(new, "kafka")) == ([1], [2])
        assert len(new.search(NAMESPACE, IndexQuery("", [1.0] + [0.0] * (2 * DIMENSIONS - 1), 9)).dense) == 1
        assert (old.checkpoint(NAMESPACE), new.checkpoint(NAMESPACE)) == (Checkpoint(), Checkpoint(7, 7))

    def test_a_generation_is_found_again(self, builds: IndexBuilds) -> None:
        for generation, number in ((FIRST, 1), (SECOND, 2)):
            with closing(builds.open(generation)) as index:
                index.put(NAMESPACE, [point(number, "kafka")])
                index.flush(NAMESPACE, Checkpoint(number, number))
        for generation, number in ((SECOND, 2), (FIRST, 1)):
            with closing(builds.open(generation)) as index:
                assert index.checkpoint(NAMESPACE) == Checkpoint(number, number)
                assert lexical(index, "kafka") == [number]
                assert index.rebuilt() == ()

    @pytest.mark.parametrize(("gone", "kept"), [(FIRST, SECOND), (SECOND, FIRST)], ids=["the first", "a later one"])
    def test_what_is_deleted_is_gone_and_the_other_stays(
        self, builds: IndexBuilds, opened: Opened, gone: Generation, kept: Generation
    ) -> None:
        with closing(builds.open(gone)) as index:
            index.put(NAMESPACE, [point(1, "kafka")])
            index.flush(NAMESPACE, Checkpoint(1, 1))
        stays = opened(kept)
        stays.put(NAMESPACE, [point(2, "kafka")])
        builds.delete(gone.number)
        builds.delete(gone.number)
        assert lexical(stays, "kafka") == [2]
        again = opened(gone)
        assert again.checkpoint(NAMESPACE) == Checkpoint()
        assert lexical(again, "kafka") == []
        assert again.rebuilt() == ()

    def test_a_generation_that_never_was_is_deleted_without_a_word(self, builds: IndexBuilds) -> None:
        builds.delete(1)
        builds.delete(9)

    def test_without_dimensions_what_is_there_is_searched(self, builds: IndexBuilds) -> None:
        with closing(builds.open(FIRST)) as index:
            index.put(NAMESPACE, [point(1, "kafka")])
            index.flush(NAMESPACE, Checkpoint(1, 1))
        with closing(builds.open(Generation(1, FIRST.model_id, None, "english"))) as index:
            assert lexical(index, "kafka") == [1]

    def test_without_dimensions_nothing_is_made(self, builds: IndexBuilds) -> None:
        with pytest.raises(Unavailable, match="without"), closing(builds.open(Generation(3, "lost:int8"))) as index:
            index.put(NAMESPACE, [point(1, "kafka")])


class TestEdgeBuilds(BuildsContract):
    @pytest.fixture
    def of_store(self, tmp_path: Path) -> OfStore:
        return lambda store_id: EdgeBuilds(tmp_path / "index", store_id=store_id)

    def test_a_file_in_the_place_of_the_folder_is_no_reason_not_to_delete(
        self, builds: IndexBuilds, tmp_path: Path
    ) -> None:
        (tmp_path / "index").write_text("not a folder")
        builds.delete(1)


class TestServerBuilds(BuildsContract):
    """Over real HTTP, on a server of the tests with Edge behind it."""

    @pytest.fixture
    def collection(self) -> str:
        return f"builds-{uuid4()}"

    @pytest.fixture
    def of_store(self, qdrant: QdrantProcess, collection: str) -> OfStore:
        return lambda store_id: ServerBuilds(Address(qdrant.url), collection, store_id=store_id)

    def test_the_first_generation_of_another_store_in_the_same_collection_stays(
        self, builds: IndexBuilds, opened: Opened, of_store: OfStore
    ) -> None:
        names = [f"{NAMESPACE} {n}" for n in range(3)]
        with closing(of_store("another").open(FIRST)) as neighbour:
            neighbour.put(NAMESPACE, [point(1, "kafka")])
            mine = opened(FIRST)
            for name in names:
                mine.put(name, [point(2, "kafka")])
            builds.delete(1)
            assert lexical(neighbour, "kafka") == [1]
            assert [list(opened(FIRST).points(name)) for name in names] == [[], [], []]

    def test_later_generations_of_two_stores_share_nothing_even_with_other_dimensions(
        self, opened: Opened, of_store: OfStore
    ) -> None:
        opened(SECOND).put(NAMESPACE, [point(1, "kafka")])
        with closing(of_store("another").open(WIDE)) as other:
            assert lexical(other, "kafka") == []

    def test_a_collection_that_was_deleted_for_good_is_not_made_again(
        self, qdrant: QdrantProcess, collection: str
    ) -> None:
        address, wanted = Address(qdrant.url), [True]
        builds = ServerBuilds(address, collection, store_id="the-store", is_wanted=lambda _: wanted[0])
        with closing(builds.open(FIRST)) as index, closing(QdrantClient(url=qdrant.url)) as client:
            index.put(NAMESPACE, [point(1, "kafka")])
            wanted[0] = False
            builds.delete(1)
            with pytest.raises(Unavailable, match="another one serves"):
                index.put(NAMESPACE, [point(2, "kafka")])
            assert not client.collection_exists(collection)
            wanted[0] = True
            with pytest.raises(Unavailable, match="made anew"):
                index.put(NAMESPACE, [point(2, "kafka")])
            assert client.collection_exists(collection)
