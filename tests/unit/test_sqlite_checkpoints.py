"""Checkpoints beside the writer: the log gets into the file, and nothing waits for it or is lost by it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from soma_core.adapters.sqlite import checkpoints
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.query import BrowseQuery, Selection
from tests.support.requests import new, request, stored

NAMESPACE = "api_ns"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def records(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteRecordStore]:
    monkeypatch.setattr(checkpoints, "PAGES", 50)
    found = SqliteRecordStore(path, reserve_bytes=0)
    yield found
    found.close()


def in_the_file(path: Path) -> int:
    """How many memories the file has without its log."""
    db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        count: int = db.execute("SELECT count(*) FROM memories").fetchone()[0]
        return count
    except sqlite3.DatabaseError:  # read in the middle of a checkpoint
        return 0
    finally:
        db.close()


def until(true: object, what: str) -> None:
    deadline = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_the_log_gets_into_the_file_while_the_store_is_open(records: SqliteRecordStore, path: Path) -> None:
    for n in range(40):
        stored(records, NAMESPACE, [new(f"memory {n}")], request())
    until(lambda: in_the_file(path) >= 10, "nothing got into the file")
    assert len(records.browse(NAMESPACE, BrowseQuery(limit=100)).memories) == 40


def test_the_store_goes_on_where_no_checkpoint_can_be_made(
    records: SqliteRecordStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    class Full:
        def execute(self, statement: str) -> None:
            tried.set()
            raise sqlite3.OperationalError("database or disk is full")

        def close(self) -> None: ...

    monkeypatch.setattr(records._database._checkpoints, "_connect", Full)
    for n in range(40):
        stored(records, NAMESPACE, [new(f"memory {n}")], request())
    assert tried.wait(10)
    stored(records, NAMESPACE, [new("one more")], request())
    assert len(records.browse(NAMESPACE, BrowseQuery(limit=100)).memories) == 41


def test_checkpoints_are_made_though_the_first_connection_for_them_failed(
    records: SqliteRecordStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, tried = records._database._checkpoints._connect, list[int]()

    def failing_once() -> sqlite3.Connection:
        tried.append(1)
        if len(tried) == 1:
            raise sqlite3.OperationalError("unable to open database file")
        return connect()

    monkeypatch.setattr(records._database._checkpoints, "_connect", failing_once)
    for n in range(40):
        stored(records, NAMESPACE, [new(f"memory {n}")], request())
        if n == 10:
            until(lambda: tried, "no checkpoint was begun")
    until(lambda: in_the_file(path) >= 10, "nothing got into the file")


def test_what_is_purged_while_checkpoints_are_made_is_gone_from_the_files(
    records: SqliteRecordStore, path: Path
) -> None:
    stop = threading.Event()

    def crowd() -> None:
        for n in range(2_000):
            if stop.is_set():
                return
            stored(records, NAMESPACE, [new(f"other {n}")], request())

    writer = threading.Thread(target=crowd)
    writer.start()
    try:
        for n in range(10):
            secret = f"SECRETWORD{n}SECRET"
            (change,) = stored(records, NAMESPACE, [new(secret)], request())
            records.forget(NAMESPACE, Selection((change.id,)), request(), purge=True, reason=None)
            until(lambda: records.erase(at_once=True), "the purge was never finished")
            kept = b"".join(file.read_bytes() for file in path.parent.glob("records.db*"))
            assert secret.encode() not in kept
    finally:
        stop.set()
        writer.join()


def test_closing_ends_a_checkpoint_that_is_due_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 1)
    for round_ in range(5):
        records = SqliteRecordStore(path, reserve_bytes=0)
        for n in range(10):
            stored(records, NAMESPACE, [new(f"memory {round_} {n}")], request())
        records.close()
    records = SqliteRecordStore(path, reserve_bytes=0)
    assert len(records.browse(NAMESPACE, BrowseQuery(limit=100)).memories) == 50
    records.close()
