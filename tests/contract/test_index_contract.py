"""The index contract, run by every adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.ports.index import VectorIndex
from tests.contract.index import DIMENSIONS, IndexContract, Reopen


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
