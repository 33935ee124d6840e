"""The tokens contract, run by every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soma_core.adapters.sqlite import database
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.ports.tokens import TokenStore
from tests.contract.tokens import Reopen, TokensContract


class TestSqliteTokenStore(TokensContract):
    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Iterator[Reopen]:
        stores: list[SqliteRecordStore] = []

        def reopen() -> TokenStore:
            if stores:
                stores[-1].close()
            stores.append(SqliteRecordStore(tmp_path / "records.db", reserve_bytes=1 << 20))
            return stores[-1].tokens()

        yield reopen
        for store in stores:
            store.close()

    @pytest.fixture
    def tokens(self, reopen: Reopen) -> TokenStore:
        return reopen()

    @pytest.fixture
    def disk(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        def disk(free: int) -> None:
            monkeypatch.setattr(database, "free_bytes", lambda path: free)

        return disk
