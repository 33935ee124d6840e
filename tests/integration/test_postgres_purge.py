"""What purging leaves in Postgres."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from soma_core.adapters.postgres import forgetting, records
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.domain.query import Selection
from tests.contract.records import forget, put, texts
from tests.support.postgres import PostgresServer
from tests.support.requests import new, request, stored


@pytest.fixture
def store(database: str) -> Iterator[PostgresRecordStore]:
    found = PostgresRecordStore(database, pool_size=4)
    yield found
    found.close()


def secret(store: PostgresRecordStore) -> Any:
    given: dict[str, Any] = {
        "text": "zyxSECRETtext", "tags": ["zyxSECRETtag"], "thread": "zyxSECRETthread",
        "speaker": "zyxSECRETspeaker", "payload": {"zyxSECRETkey": "zyxSECRETvalue"},
    }  # fmt: skip
    key = stored(store, "n", [new(**given, coordinate="987654.125")], request()).pop().id
    put(store, "zyxSECRETrevised", "n", coordinate="987654.125")
    store.forget("n", Selection((key,)), request(), purge=False, reason="zyxSECRETreason")
    return key


def dump(postgres: PostgresServer, database: str) -> str:
    """All rows of all tables."""
    name = database.rpartition("/")[2]
    tables = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)
    return str([postgres.execute(f"SELECT * FROM {table}", name) for (table,) in tables])


def dead_rows(postgres: PostgresServer, database: str) -> int:
    """Rows that were deleted and are still in the tables."""
    name = database.rpartition("/")[2]
    postgres.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple", name)
    return sum(
        postgres.execute(f"SELECT dead_tuple_count FROM pgstattuple('{t}')", name)[0][0] for t in forgetting.ERASED
    )


def test_no_row_holds_what_was_purged_and_no_deleted_row_is_left(
    store: PostgresRecordStore, postgres: PostgresServer, database: str
) -> None:
    key = secret(store)
    put(store, "stays", "n")
    assert "zyxSECRET" in dump(postgres, database)
    forget(store, key, namespace="n", purge=True)
    assert "zyxSECRET" not in dump(postgres, database)
    assert "987654.125" not in dump(postgres, database)
    assert dead_rows(postgres, database) > 0
    assert store.erase(at_once=True)
    assert dead_rows(postgres, database) == 0
    assert texts(store, "n") == ["stays"]
    assert store.erase(at_once=True)


def test_erase_says_when_a_reader_still_sees_purged_rows_and_does_it_later(
    store: PostgresRecordStore, database: str
) -> None:
    key = secret(store)
    with contextlib.closing(psycopg2.connect(database)) as reader, reader.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM versions")
        forget(store, key, namespace="n", purge=True)
        assert not store.erase(at_once=True)
        assert not store.erase(at_once=False)
        reader.rollback()
    assert store.erase(at_once=False)


def test_large_tables_are_not_cleaned_while_the_caller_waits(
    store: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(store, secret(store), namespace="n", purge=True)
    monkeypatch.setattr(records, "ERASE_AT_ONCE_BYTES", 1)
    assert not store.erase(at_once=True)
    assert store.erase(at_once=False)
    assert store.erase(at_once=True)


def test_transaction_numbers_may_go_round(store: PostgresRecordStore) -> None:
    assert not forgetting._before(8, 7)
    assert forgetting._before(7, 7)
    assert forgetting._before((1 << 32) - 5, (1 << 32) + 3)
    assert not forgetting._before(4, (3 << 32) + 3)


def test_a_purge_while_the_tables_are_cleaned_elsewhere_does_not_wait_and_is_finished_later(
    store: PostgresRecordStore, database: str
) -> None:
    key = secret(store)
    forget(store, key, namespace="n", purge=True)
    with contextlib.closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        cursor.execute("LOCK versions IN SHARE UPDATE EXCLUSIVE MODE")
        assert not store.erase(at_once=True)
        other.rollback()
    assert store.erase(at_once=True)
