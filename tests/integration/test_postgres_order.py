"""The order in which Postgres shows changes, with several writers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import pytest

from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.adapters.postgres.storing import store_all
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.ports.records import Submission
from tests.contract.records import forget, put, texts
from tests.support.clock import NOON
from tests.support.requests import new, request


@pytest.fixture
def processes(database: str) -> Iterator[tuple[PostgresRecordStore, PostgresRecordStore]]:
    """Two stores that know nothing of each other, as two processes have them."""
    a, b = PostgresRecordStore(database, pool_size=4), PostgresRecordStore(database, pool_size=4)
    yield a, b
    a.close()
    b.close()


class Held:
    """A store whose transaction is open until `commit`."""

    def __init__(self, records: PostgresRecordStore, namespace: str, text: str) -> None:
        self._written, self._go = threading.Event(), threading.Event()
        self._submission = Submission(namespace, [new(text, coordinate="1")], request())
        self._thread = threading.Thread(target=lambda: records._pool.write(self._work))
        self._thread.start()
        assert self._written.wait(10)

    def _work(self, tx: Transaction) -> None:
        store_all(tx, [self._submission], NOON)
        tx.fetch("SELECT 1", {})
        self._written.set()
        assert self._go.wait(10)

    def commit(self) -> None:
        self._go.set()
        self._thread.join(10)


def waits(job: Future[Any]) -> bool:
    try:
        job.result(0.3)
    except NotYet:
        return True
    return False


def test_an_offset_that_commits_late_is_not_passed_by_a_reader(
    processes: tuple[PostgresRecordStore, PostgresRecordStore],
) -> None:
    a, b = processes
    slow = Held(a, "n", "slow")
    seen: list[int] = []

    def follow() -> None:
        seen.extend(event.offset for event in b.log().read("n", seen[-1] if seen else 0, 100))

    with ThreadPoolExecutor(1) as pool:
        quick = pool.submit(put, b, "quick", "n")
        assert waits(quick)
        follow()
        assert seen == []
        slow.commit()
        quick.result(10)
    follow()
    log = a.log().read("n", 0, 100)
    assert seen == [event.offset for event in log]
    assert [a.read("n", [event.memory_id])[event.memory_id].text for event in log] == ["slow", "quick"]


def test_a_writer_of_another_namespace_does_not_wait(
    processes: tuple[PostgresRecordStore, PostgresRecordStore],
) -> None:
    a, b = processes
    slow = Held(a, "n", "slow")
    put(b, "elsewhere", "m")
    assert b.log().end("m") > 0
    assert b.log().end("n") == 0
    slow.commit()
    assert b.log().end("n") > 0


@pytest.mark.parametrize(
    "change", [lambda b: put(b, "again", "n", coordinate="1"), lambda b: forget(b, namespace="n", before="2999-01-01")]
)
def test_versions_leave_in_the_order_in_which_their_memory_was_locked(
    processes: tuple[PostgresRecordStore, PostgresRecordStore], change: Callable[[PostgresRecordStore], object]
) -> None:
    a, b = processes
    slow = Held(a, "n", "slow")
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(change, b)
        assert waits(later)
        slow.commit()
        later.result(10)
    assert [event.version for event in a.log().read("n", 0, 100)] == [1, 2]


def test_submissions_to_the_same_namespaces_in_any_order_do_not_block_each_other(
    processes: tuple[PostgresRecordStore, PostgresRecordStore],
) -> None:
    names = [f"n{number}" for number in range(6)]

    def both_ways(number: int) -> None:
        order = names if number % 2 else names[::-1]
        records = processes[number % 2]
        outcomes = records.store([Submission(name, [new(f"{number}")], request()) for name in order])
        assert all(isinstance(outcome, list) for outcome in outcomes)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(both_ways, range(40)))
    for name in names:
        assert sorted(texts(processes[0], name), key=int) == [str(number) for number in range(40)]


def test_two_processes_with_clocks_apart_store_at_one_coordinate(database: str) -> None:
    def at(year: int) -> PostgresRecordStore:
        return PostgresRecordStore(database, pool_size=2, clock=lambda: NOON.replace(year=year))

    early, late = at(2001), at(2060)
    writers = [late, early, late, early, early, late]
    versions = [put(records, f"{n}", coordinate="1").version for n, records in enumerate(writers)]
    assert versions == [1, 2, 3, 4, 5, 6]
    assert texts(late) == texts(early) == ["5"]
    assert [event.version for event in late.log().read("api_ns", 0, 9)] == versions
    early.close()
    late.close()
