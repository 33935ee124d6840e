"""Connections to Postgres that break, or that are not enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest

from soma_core.adapters.postgres import pool
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.domain.errors import Overloaded, StoreCorrupt, Unavailable
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.memory import NewMemory
from soma_core.domain.receipts import Change, StoreStatus
from soma_core.ports.records import Submission
from tests.contract.records import NAMESPACE, forget, put, texts
from tests.contract.tokens import token
from tests.support.postgres import PostgresServer
from tests.support.requests import new, request, stored


@pytest.fixture
def records(database: str) -> Iterator[PostgresRecordStore]:
    store = PostgresRecordStore(database, pool_size=4)
    yield store
    store.close()


@pytest.fixture
def cut(postgres: PostgresServer, database: str) -> Callable[[], None]:
    """Ends every connection to the database, as a restart of the server does."""
    name = database.rpartition("/")[2]

    def cut() -> None:
        postgres.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")

    return cut


def losing(
    monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[[Transaction, Callable[[], None]], None]
) -> list[int]:
    """Let a method of the first transaction go wrong; returns the list of its calls."""
    real, calls = getattr(Transaction, name), list[int]()

    def method(self: Transaction, *arguments: object) -> object:
        calls.append(1)
        if len(calls) > 1:
            return real(self, *arguments)
        when(self, lambda: real(self, *arguments))
        raise AssertionError("it should have been lost")

    monkeypatch.setattr(Transaction, name, method)
    return calls


def committed_unheard(tx: Transaction, commit: Callable[[], None]) -> None:
    commit()
    tx._cursor.connection.close()
    raise psycopg2.OperationalError("server closed the connection unexpectedly")


def test_reads_and_writes_go_on_after_every_connection_was_cut(
    records: PostgresRecordStore, cut: Callable[[], None]
) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: put(records, f"{n}"), range(8)))
    cut()
    assert len(records.live(NAMESPACE)) == 8
    cut()
    put(records, "after")
    assert len(texts(records)) == 9


def test_a_store_whose_commit_was_not_heard_is_not_applied_twice(
    records: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = losing(monkeypatch, "commit", committed_unheard)
    change = put(records, "once", coordinate="1")
    assert change == Change(change.id, 1, StoreStatus.CREATED)
    assert len(calls) == 2
    assert records.log().lag(NAMESPACE, 0) == 1


def test_a_store_that_was_cut_off_before_its_commit_is_applied_once(
    records: PostgresRecordStore, cut: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(tx: Transaction, commit: Callable[[], None]) -> None:
        cut()
        commit()

    calls = losing(monkeypatch, "commit", cut_off)
    stored(records, NAMESPACE, [new("once"), new("too")], request())
    assert len(calls) == 2
    assert sorted(texts(records)) == ["once", "too"]


def test_a_forget_whose_commit_was_not_heard_gets_the_receipt_of_what_it_did(
    records: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put(records, "gone").id
    losing(monkeypatch, "commit", committed_unheard)
    receipt = forget(records, key, purge=True)
    assert (list(receipt.ids), receipt.count) == ([key], 1)
    assert [event.kind for event in records.log().read(NAMESPACE, 0, 9)] == ["stored", "purged"]


def test_a_token_whose_commit_was_not_heard_is_there(
    records: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, "commit", committed_unheard)
    records.tokens().add(token(), b"digest")
    assert records.tokens().list() == [token()]


def test_a_change_of_the_generations_whose_commit_was_not_heard_was_made(
    records: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = Generations(Generation(1, "model")), Generations(Generation(1, "other"))
    calls = losing(monkeypatch, "commit", committed_unheard)
    assert records.change_generations(None, first)
    assert len(calls) == 2
    assert not records.change_generations(None, first)
    assert not records.change_generations(other, other)
    assert records.generations() == first


def test_a_full_pool_is_overloaded_after_a_while_and_says_when_to_come_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WAIT_SECONDS", 0.2)
    records = PostgresRecordStore(database, pool_size=1)
    with records._pool.lent(), pytest.raises(Overloaded, match="POSTGRES_POOL_SIZE") as caught:
        records.live(NAMESPACE)
    assert caught.value.retry_after > 0
    with records._pool.lent(), pytest.raises(Overloaded, match="POSTGRES_POOL_SIZE"):
        put(records, "refused")
    put(records, "taken")
    assert texts(records) == ["taken"]
    records.close()


def test_a_caller_waits_for_a_connection_that_becomes_free(database: str) -> None:
    records = PostgresRecordStore(database, pool_size=1)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: (put(records, f"{n}"), records.live(NAMESPACE)), range(32)))
    assert len(texts(records)) == 32
    assert records._pool._used == 0
    records.close()


def test_every_connection_is_durable_and_gives_up_in_time(
    records: PostgresRecordStore, postgres: PostgresServer
) -> None:
    name = records._pool.address.url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    records._pool._drop_idle()
    settings = ["synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "jit"]
    shown = [records._pool.read(f"SHOW {setting}", {})[0][0] for setting in settings]
    assert shown == ["on", "30s", "10s", "10s", "off"]


def test_a_statement_that_takes_too_long_is_given_up(records: PostgresRecordStore) -> None:
    with records._pool.lent() as db, db.cursor() as cursor:
        cursor.execute("SET statement_timeout = '50ms'")
    start = time.monotonic()
    with pytest.raises(Unavailable, match="too long"):
        records._pool.read("SELECT pg_sleep(20)", {})
    assert time.monotonic() - start < 5
    assert records.live(NAMESPACE) == {}


def test_a_writer_that_waits_too_long_for_its_turn_is_overloaded(
    records: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(records, "one")
    with records._pool.lent() as holder, records._pool.lent() as impatient, holder.cursor() as cursor:
        with impatient.cursor() as own:
            own.execute("SET lock_timeout = '100ms'")
        cursor.execute("BEGIN; LOCK memories IN ACCESS EXCLUSIVE MODE")
        records._pool._idle[:] = []
        records._pool._take_back(impatient)
        records._pool._used += 1
        with pytest.raises(Overloaded):
            put(records, "late")
        cursor.execute("ROLLBACK")
    assert texts(records) == ["one"]


def test_a_server_that_is_away_is_unavailable_and_all_is_well_when_it_is_back(
    postgres_of_its_own: PostgresServer,
) -> None:
    records = PostgresRecordStore(postgres_of_its_own.database(), pool_size=4)
    again = request()
    put(records, "before")
    postgres_of_its_own.stop()
    for call in (lambda: records.live(NAMESPACE), lambda: stored(records, NAMESPACE, [new("late")], again)):
        with pytest.raises(Unavailable, match="POSTGRES_URL") as caught:
            call()
        assert caught.value.retry_after > 0
    postgres_of_its_own.start()
    stored(records, NAMESPACE, [new("late")], again)
    assert texts(records) == ["before", "late"]
    records.close()


def test_tables_that_vanished_are_named(records: PostgresRecordStore, postgres: PostgresServer) -> None:
    postgres.execute("DROP TABLE events", records._pool.address.url.rpartition("/")[2])
    with pytest.raises(StoreCorrupt, match="soma migrate"):
        put(records, "lost")


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    server = PostgresServer("fsync=off")
    yield server
    server.remove()


def test_a_store_at_fault_is_refused_alone_and_those_that_share_its_commit_are_kept(
    records: PostgresRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = threading.Event(), records._stores._store

    def slow(submissions: Sequence[Submission]) -> Any:
        assert gate.wait(10)
        return real(submissions)

    monkeypatch.setattr(records._stores, "_store", slow)
    bad = NewMemory("never", payload={"not": object()})

    def keep(number: int) -> object:
        try:
            return stored(records, NAMESPACE, [bad if number == 5 else new(f"{number}")], request())
        except TypeError:
            return None

    with ThreadPoolExecutor(10) as threads:
        jobs = [threads.submit(keep, number) for number in range(10)]
        while len(records._stores._queue) < 9:
            time.sleep(0.01)
        gate.set()
        kept = [job.result(10) is not None for job in jobs]
    assert kept == [number != 5 for number in range(10)]
    assert sorted(texts(records)) == [str(number) for number in range(10) if number != 5]


def test_many_more_rows_than_one_statement_holds_are_kept_as_they_were_given(records: PostgresRecordStore) -> None:
    odd = ["tab\there", "line\nfeed", "return\rhere", "back\\slash", "\\N", "\\.", '{"quoted"}', "🦊 記憶", "\x01\x7f"]
    given = [
        new(
            f"{odd[n % 9]} {n}",
            tags=[odd[n % 9].strip(), "b"],
            thread=odd[n % 9],
            speaker=odd[n % 9],
            payload={"x": odd[n % 9], "y": None, "z": [1.5, True]},
            occurred_at="0001-01-01" if n % 2 else None,
            coordinate=f"{n},-2.5e-300" if n % 3 == 0 else None,
        )
        for n in range(1_000)
    ]
    changes = stored(records, NAMESPACE, given, request())
    found = records.read(NAMESPACE, [change.id for change in changes])
    assert [found[change.id].says_the_same(each) for change, each in zip(changes, given, strict=True)] == [True] * 1_000
    assert [found[change.id].coordinate for change in changes] == [each.coordinate for each in given]
    assert [event.memory_id for event in records.log().read(NAMESPACE, 0, 2_000)] == [change.id for change in changes]
    assert records.problems() == []


def test_a_string_with_nul_is_refused_however_many_come_with_it(records: PostgresRecordStore) -> None:
    for count in (1, 500):
        with pytest.raises(ValueError, match="NUL"):
            stored(records, NAMESPACE, [NewMemory("a\0tb")] * count, request())
    assert texts(records) == []
