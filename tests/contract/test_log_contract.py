"""The log contract, run by every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soma_core.adapters.sqlite.records import SqliteRecordStore
from tests.contract.log import LogContract, Opened
from tests.support.clock import FixedClock


class TestSqliteEventLog(LogContract):
    @pytest.fixture
    def clock(self) -> FixedClock:
        return FixedClock()

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: FixedClock) -> Iterator[Callable[[], Opened]]:
        stores: list[SqliteRecordStore] = []

        def reopen() -> Opened:
            if stores:
                stores[-1].close()
            stores.append(SqliteRecordStore(tmp_path / "records.db", reserve_bytes=0, clock=clock))
            return stores[-1], stores[-1].log()

        yield reopen
        for store in stores:
            store.close()

    @pytest.fixture
    def opened(self, reopen: Callable[[], Opened]) -> Opened:
        return reopen()
