"""The records contract, run by every adapter, and what is SQLite's own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from soma_core.adapters.sqlite import database
from soma_core.adapters.sqlite.database import Database
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.errors import StoreCorrupt, Unavailable
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore
from tests.contract.records import EventsOf, RecordsContract, Reopen, forget, put, texts
from tests.support.clock import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def reopen(tmp_path: Path, clock: FixedClock) -> Iterator[Reopen]:
    stores: list[SqliteRecordStore] = []

    def reopen() -> RecordStore:
        if stores:
            stores[-1].close()
        stores.append(SqliteRecordStore(tmp_path / "records.db", reserve_bytes=1 << 20, clock=clock))
        return stores[-1]

    yield reopen
    for store in stores:
        store.close()


@pytest.fixture
def records(reopen: Reopen) -> RecordStore:
    return reopen()


@pytest.fixture
def events_of() -> EventsOf:
    def events_of(records: RecordStore) -> EventLog:
        return cast(SqliteRecordStore, records).log()

    return events_of


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def disk(free: int) -> None:
        monkeypatch.setattr(database, "free_bytes", lambda path: free)

    return disk


class TestSqliteRecordStore(RecordsContract):
    pass


class Gate:
    """Holds the writing connection in a job, so that the jobs of other threads gather for the next commit."""

    def __init__(self, db: Database) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        self._db = db
        self._thread = threading.Thread(target=lambda: db.write(self._hold))

    def _hold(self, _: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._open.wait(10)

    def __enter__(self) -> Gate:
        self._thread.start()
        assert self._entered.wait(10)
        return self

    def gathered(self, jobs: int) -> None:
        """Wait until so many jobs are queued."""
        while len(self._db._commits._queue) < jobs:
            threading.Event().wait(0.001)

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._thread.join()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "records.db", reserve_bytes=0)
    yield opened
    opened.close()


class FailsToCommitOnce:
    """A connection whose first commit of anything but the gate's own job is refused by the disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._commits = 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        self._commits += sql == "COMMIT"
        if sql == "COMMIT" and self._commits == 2:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def insert(name: str) -> Callable[[sqlite3.Connection], str]:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO meta VALUES (?, 'x')", (name,))
        return name

    return work


def kept(db: Database) -> set[str]:
    with db.reading() as connection:
        return {row[0] for row in connection.execute("SELECT key FROM meta WHERE value = 'x'")}


def outcome(db: Database, work: Callable[[sqlite3.Connection], str]) -> object:
    try:
        return db.write(work)
    except Exception as error:
        return type(error)


class TestGroupCommit:
    def test_jobs_that_wait_share_one_commit(self, db: Database) -> None:
        commits: list[str] = []
        db._commits._db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        with ThreadPoolExecutor(8) as pool, Gate(db) as gate:
            jobs = [pool.submit(db.write, insert(f"{n}")) for n in range(8)]
            gate.gathered(8)
        assert {job.result() for job in jobs} == kept(db) == {str(n) for n in range(8)}
        assert len(commits) == 2

    def test_a_job_that_raises_is_undone_alone(self, db: Database) -> None:
        def spoilt(connection: sqlite3.Connection) -> str:
            insert("spoilt")(connection)
            raise LookupError

        with ThreadPoolExecutor(8) as pool, Gate(db) as gate:
            jobs = [pool.submit(outcome, db, spoilt if n == 3 else insert(f"{n}")) for n in range(8)]
            gate.gathered(8)
        assert jobs[3].result() is LookupError
        assert kept(db) == {str(n) for n in range(8) if n != 3}

    def test_a_failure_of_the_file_fails_every_job_of_the_commit_and_the_store_goes_on(self, db: Database) -> None:
        def full(connection: sqlite3.Connection) -> str:
            insert("full")(connection)
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error

        with ThreadPoolExecutor(8) as pool, Gate(db) as gate:
            jobs = [pool.submit(outcome, db, full if n == 3 else insert(f"{n}")) for n in range(8)]
            gate.gathered(8)
        assert {job.result() for job in jobs} == {Unavailable}
        assert kept(db) == set()
        assert db.write(insert("later")) == "later"
        assert kept(db) == {"later"}

    def test_a_commit_that_fails_leaves_nothing_and_the_store_goes_on(self, db: Database) -> None:
        db._commits._db = cast(sqlite3.Connection, FailsToCommitOnce(db._commits._db))
        with ThreadPoolExecutor(4) as pool, Gate(db) as gate:
            jobs = [pool.submit(outcome, db, insert(f"{n}")) for n in range(4)]
            gate.gathered(4)
        assert {job.result() for job in jobs} == {Unavailable}
        assert kept(db) == set()
        assert db.write(insert("later")) == "later"

    def test_a_small_disk_full_is_unavailable_and_what_is_there_stays(self, tmp_path: Path) -> None:
        store = SqliteRecordStore(tmp_path / "small.db", reserve_bytes=0)
        put(store, "stays")
        writer = store._database._commits._db
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(Unavailable, match="full"):
            put(store, "x" * 60_000)
        assert texts(store) == ["stays"]
        writer.execute("PRAGMA max_page_count = 100000")
        put(store, "later")
        assert set(texts(store)) == {"stays", "later"}
        store.close()


class TestTheFile:
    def test_erase_says_when_a_reader_still_holds_purged_text_and_does_it_later(
        self, records: RecordStore, files: Path
    ) -> None:
        store = cast(SqliteRecordStore, records)
        key = put(store, "zyxSECRET").id
        store._database._commits._db.execute("PRAGMA busy_timeout = 10")
        with store._database.reading() as reader:
            rows = reader.execute("SELECT * FROM memories UNION ALL SELECT * FROM memories")
            rows.fetchone()
            forget(store, key, purge=True)
            assert not store.erase(at_once=True)
            rows.close()
        assert store.erase(at_once=True)
        assert not [p for p in files.iterdir() if b"zyxSECRET" in p.read_bytes()]

    def test_a_purge_during_a_rewrite_of_the_file_is_erased_by_another_one(
        self, records: RecordStore, files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = cast(SqliteRecordStore, records)
        earlier, later = put(store, "zyxEARLIER").id, put(store, "zyxLATER" * 1_000).id
        rewrite, rewritten = store._database.rewrite, list[int]()

        def meanwhile(*, up_to_bytes: int | None) -> bool:
            done = rewrite(up_to_bytes=up_to_bytes)
            rewritten.append(1)
            if len(rewritten) == 1:
                forget(store, later, purge=True)
            return done

        monkeypatch.setattr(store._database, "rewrite", meanwhile)
        forget(store, earlier, purge=True)
        assert store.erase(at_once=True)
        assert store.erase(at_once=True)
        assert len(rewritten) == 2
        assert not [p for p in files.iterdir() if b"zyxLATER" in p.read_bytes()]
        assert store.erase(at_once=True)
        assert len(rewritten) == 2

    def test_it_is_not_rewritten_without_room_for_two_copies_beside_the_reserve(
        self, records: RecordStore, files: Path, disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        forget(records, put(records, "gone").id, purge=True)
        needed = (1 << 20) + 2 * (files / "records.db").stat().st_size
        disk(needed - 1)
        assert [records.erase(at_once=True), records.erase(at_once=False)] == [False, False]
        assert "purged text stays in" in caplog.text
        disk(needed)
        assert records.erase(at_once=True)

    @pytest.mark.parametrize(
        "content", [b"", b"not a database, but long enough to look like one " * 100], ids=["empty", "junk"]
    )
    def test_a_file_that_is_no_store_is_refused_and_not_touched(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "records.db"
        path.write_bytes(content)
        with pytest.raises(StoreCorrupt, match=r"To restore"):
            SqliteRecordStore(path, reserve_bytes=0)
        assert path.read_bytes() == content

    def test_a_damaged_store_is_refused_and_not_touched(self, records: RecordStore, files: Path) -> None:
        for n in range(50):
            put(records, f"{n} " + "x" * 500)
        records.erase(at_once=True)
        records.close()
        path = files / "records.db"
        content = bytearray(path.read_bytes())
        for page in range(2, len(content) // 4096):
            content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        path.write_bytes(content)
        with pytest.raises(StoreCorrupt, match=r"(?s)damaged.*To restore"):
            SqliteRecordStore(path, reserve_bytes=0)
        assert path.read_bytes() == content

    def test_a_newer_schema_is_refused(self, records: RecordStore, files: Path) -> None:
        records.close()
        db = sqlite3.connect(files / "records.db")
        db.execute("PRAGMA user_version = 99")
        db.close()
        with pytest.raises(StoreCorrupt, match="upgrade"):
            SqliteRecordStore(files / "records.db", reserve_bytes=0)

    def test_a_log_without_its_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "records.db-wal").write_bytes(b"something")
        with pytest.raises(StoreCorrupt, match="missing"):
            SqliteRecordStore(tmp_path / "records.db", reserve_bytes=0)

    def test_an_unfinished_draft_of_a_crashed_first_start_is_no_obstacle(self, tmp_path: Path) -> None:
        (tmp_path / "records.db.new").write_bytes(b"half")
        store = SqliteRecordStore(tmp_path / "records.db", reserve_bytes=0)
        put(store, "fine")
        assert texts(store) == ["fine"]
        store.close()


class TestWhatRankingAsks:
    """A recall asks these; a walk through the namespace would cost it a second in a large one."""

    @pytest.mark.parametrize(
        ("ask", "index"),
        [
            (lambda store: store.features("api_ns", range(1, 201)), "PRIMARY KEY (id=?)"),
            (
                lambda store: store.speakers("api_ns", ["Ana"]),
                "live_by_speaker (namespace=? AND speaker>? AND speaker<?)",
            ),
        ],
        ids=["features", "speakers"],
    )
    def test_it_is_found_by_an_index(
        self, records: RecordStore, ask: Callable[[SqliteRecordStore], object], index: str
    ) -> None:
        store = cast(SqliteRecordStore, records)
        put(store, "said", speaker="Ana Lu")
        statements: list[str] = []
        with store._database.reading() as db:
            db.set_trace_callback(statements.append)
        ask(store)
        with store._database.reading() as db:
            db.set_trace_callback(None)
            plans = [" ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {each}")) for each in statements]
        assert plans
        assert all(index in plan and "SCAN" not in plan for plan in plans)
