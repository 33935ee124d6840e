"""A shard from which nothing was ever taken is searched without asking what is in scope; any other is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.ports.index import Checkpoint, IndexQuery
from tests.contract.index import memory, point
from tests.support.embedder import DIMENSIONS

NAME = "tea"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = opened(tmp_path)
    index.put(NAME, [point(number, "tea" if number < 20 else "coffee") for number in range(1, 40)])
    index.flush(NAME, Checkpoint(1, 1))
    index.close()
    return tmp_path


def opened(folder: Path) -> EdgeIndex:
    return EdgeIndex(folder / "index", store_id="store", model_id="model", dimensions=DIMENSIONS)


def found(index: EdgeIndex) -> dict[int, float]:
    return {match.memory: match.score for match in index.search(NAME, IndexQuery("tea", None, 100)).lexical}


def marks(folder: Path) -> list[Path]:
    return list(folder.rglob("plain"))


def test_a_plain_shard_scores_as_one_that_is_asked(folder: Path) -> None:
    index = opened(folder)
    plain = found(index)
    index.remove(NAME, memory(99), 2)  # of which there is no point
    assert found(index) == plain
    index.close()


@pytest.mark.parametrize("take", ["retire", "remove"])
def test_what_was_taken_stays_out_after_a_start(folder: Path, take: str) -> None:
    index = opened(folder)
    assert memory(1).int in found(index)
    assert marks(folder)
    getattr(index, take)(NAME, memory(1), 2)
    assert memory(1).int not in found(index)
    index.close()
    assert not marks(folder)
    index = opened(folder)
    assert memory(1).int not in found(index)
    index.close()


def test_a_point_of_an_older_version_is_not_found(folder: Path) -> None:
    index = opened(folder)
    index.put(NAME, [point(50, "tea", current=False)])
    assert memory(50).int not in found(index)
    index.close()
