"""The contracts of records, log, outbox and tokens over Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore
from soma_core.ports.tokens import TokenStore
from tests.contract import outbox
from tests.contract.log import LogContract, Opened
from tests.contract.outbox import OutboxContract
from tests.contract.records import EventsOf, RecordsContract
from tests.contract.tokens import TokensContract
from tests.support.clock import FixedClock

Open = Callable[[], PostgresRecordStore]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def open_store(database: str, clock: FixedClock) -> Iterator[Open]:
    stores: list[PostgresRecordStore] = []

    def open_store() -> PostgresRecordStore:
        if stores:
            stores[-1].close()
        stores.append(PostgresRecordStore(database, pool_size=4, clock=clock))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def disk() -> Callable[[int], None]:
    pytest.skip("no reserve: the server's disk is out of sight; a full one is the server's to report")


@pytest.fixture
def files() -> Path:
    pytest.skip("bytes of deleted rows stay in the server's files until they are written over (docs/postgres.md)")


class TestPostgresRecordStore(RecordsContract):
    @pytest.fixture
    def reopen(self, open_store: Open) -> Open:
        return open_store

    @pytest.fixture
    def records(self, reopen: Open) -> RecordStore:
        return reopen()

    @pytest.fixture
    def events_of(self) -> EventsOf:
        def events_of(records: RecordStore) -> EventLog:
            return cast(PostgresRecordStore, records).log()

        return events_of


class TestPostgresEventLog(LogContract):
    @pytest.fixture
    def reopen(self, open_store: Open) -> Callable[[], Opened]:
        def reopen() -> Opened:
            store = open_store()
            return store, store.log()

        return reopen

    @pytest.fixture
    def opened(self, reopen: Callable[[], Opened]) -> Opened:
        return reopen()


class TestPostgresOutbox(OutboxContract):
    @pytest.fixture
    def another(self, database: str, clock: FixedClock) -> Iterator[outbox.Open]:
        stores: list[PostgresRecordStore] = []

        def another() -> outbox.Opened:
            stores.append(PostgresRecordStore(database, pool_size=4, clock=clock))
            return stores[-1], stores[-1].log(), stores[-1].outbox()

        yield another
        for store in stores:
            store.close()

    @pytest.fixture
    def opened(self, another: outbox.Open) -> outbox.Opened:
        return another()


class TestPostgresTokenStore(TokensContract):
    @pytest.fixture
    def reopen(self, open_store: Open) -> Callable[[], TokenStore]:
        return lambda: open_store().tokens()

    @pytest.fixture
    def tokens(self, reopen: Callable[[], TokenStore]) -> TokenStore:
        return reopen()
