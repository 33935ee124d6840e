"""The SQLite file: opening it safely, reading beside the writer."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from soma_core.adapters.sqlite.checkpoints import SAFETY_PAGES, Checkpoints
from soma_core.adapters.sqlite.commits import GroupCommit
from soma_core.adapters.sqlite.spare import SPARE_BYTES, free_bytes, give_back, set_aside
from soma_core.domain.errors import SomaError, StoreCorrupt, Unavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

APPLICATION_ID = 0x534F4D41  # "SOMA"
SCHEMA_VERSION = 3
"""`schema.sql` makes it; `migrations/N.sql` takes a file from N - 1 to N."""
QUICK_CHECK_BYTES = 8 << 20
"""A file up to this size is checked whole at every start (some 10 ms)."""


class Database:
    """One SQLite file in WAL mode with full sync: one writing connection, any number of reading ones.

    Safe to call from many threads of one process; that there is only one process is the caller's to see to.
    """

    def __init__(self, path: Path, *, reserve_bytes: int) -> None:
        self._path = path
        self._reserve = reserve_bytes
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        give_back(path)
        if not path.exists():
            _create(path)
        with translated(path):
            version = _check_identity(path)
            if version < SCHEMA_VERSION:
                _migrate(path, version)
            self._commits = GroupCommit(_connect(path))
        self._checkpoints = Checkpoints(lambda: _connect(path))
        set_aside(path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reads, which sees all that was committed before its first statement."""
        with self._idle_lock:
            if self._closed:
                raise _closed()
            connection = self._idle.pop() if self._idle else None
        with translated(self._path):
            connection = connection or _connect(self._path, read_only=True)
            try:
                yield connection
            finally:
                with self._idle_lock:
                    closing = self._closed
                    if not closing:
                        self._idle.append(connection)
                if closing:
                    connection.close()

    def write(self, work: Callable[[sqlite3.Connection], T], *, reserve: bool = True) -> T:
        """Run `work` in a transaction and return after it is synced; concurrent calls share one commit.

        When `work` raises, nothing of it is kept, and nothing of the others is lost. With `reserve` a disk below
        its reserve is refused before anything is written.
        """
        if self._closed:
            raise _closed()
        if reserve:
            self._check_disk()
        with translated(self._path):
            outcome = self._commits.run(work)
        self._checkpoints.look(self._commits.pages)
        return outcome

    def _check_disk(self) -> None:
        if free_bytes(self._path) < self._reserve:
            raise Unavailable(
                f"the disk of {self._path.parent} has less than its reserve of {self._reserve >> 20} MB left; "
                "nothing was stored: make room (or lower SOMA_DISK_RESERVE)",
                retry_after=5,
            )

    def rewrite(self, *, up_to_bytes: int | None) -> bool:
        """Write the file anew without what was deleted, and empty the log.

        SQLite zeroes what it deletes, but not what it moved between pages before. Writers wait meanwhile (a second
        for some 100 MB), so a larger file than `up_to_bytes` is left as it is, and so is one for whose two copies
        the disk has no room beside its reserve. False when it was not done.
        """
        size = self._path.stat().st_size
        if up_to_bytes is not None and size > up_to_bytes:
            return False
        needed = self._reserve + 2 * size  # a temporary copy, and the log
        if free_bytes(self._path) < needed:
            log.warning("purged text stays in %s until its disk has %d MB free", self._path, needed >> 20)
            return False
        with translated(self._path), self._checkpoints.held:
            return self._commits.outside(_rewrite)

    def problems(self) -> list[str]:
        """What SQLite's integrity check of the whole file finds."""
        try:
            with self.reading() as db:
                rows = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
        except SomaError as error:
            return [error.message]
        return [] if rows == ["ok"] else rows

    def close(self) -> None:
        """Wait for the commit at work and close every connection."""
        with self._idle_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._checkpoints.close()
        self._commits.close()
        set_aside(self._path)


def _rewrite(db: sqlite3.Connection) -> bool:
    try:
        db.execute("VACUUM")
    finally:  # when it failed, the log holds what it had written
        busy: int = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def _closed() -> Unavailable:
    return Unavailable("the record store is closed")


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=256)
    if read_only:
        db.execute("PRAGMA query_only = ON")
    else:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute(f"PRAGMA wal_autocheckpoint = {SAFETY_PAGES}")
    return db


def _create(path: Path) -> None:
    """Make the file under another name and put it in place whole, so that a crash leaves no half-made store."""
    if path.with_name(path.name + "-wal").exists():
        raise StoreCorrupt(f"{path} is missing, but its log {path.name}-wal is there. {_restore(path)}")
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with translated(path):
        db = sqlite3.connect(draft, isolation_level=None)
        schema = (Path(__file__).parent / "schema.sql").read_text()
        db.executescript(
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; BEGIN; {schema}"
            f"INSERT INTO meta VALUES ('store_id', '{uuid4()}'); COMMIT;"
        )
        db.close()
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _migrate(path: Path, version: int) -> None:
    """Bring a file to the present schema, one step after the other; each is done whole or not at all."""
    db = _connect(path)
    try:
        for step in range(version + 1, SCHEMA_VERSION + 1):
            statements = (Path(__file__).parent / "migrations" / f"{step}.sql").read_text()
            db.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {step}; COMMIT;")
    finally:
        db.close()


def _check_identity(path: Path) -> int:
    """The file's schema. Refuses a file that is not a whole Soma store of a known schema, without changing it."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreCorrupt(f"{path} is not a Soma record store (it may be empty or overwritten). {_restore(path)}")
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if not 1 <= version <= SCHEMA_VERSION:
            raise StoreCorrupt(
                f"{path} has schema {version}, this version of Soma knows {SCHEMA_VERSION}: upgrade Soma"
            )
        if path.stat().st_size <= QUICK_CHECK_BYTES:
            found = [row[0] for row in db.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                raise StoreCorrupt(f"{path} is damaged: {'; '.join(found)}. {_restore(path)}")
        return version
    finally:
        db.close()


def _restore(path: Path) -> str:
    return (
        "Nothing was changed. To restore: stop every client, put back a backup of the file (and remove "
        f"{path.name}-wal and {path.name}-shm), or save what can be read with "
        f"`sqlite3 {path.name} .recover | sqlite3 recovered.db` and put that in its place; "
        "then `soma doctor`. To begin anew, move the file away."
    )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into Soma's."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise StoreCorrupt(f"{path} is damaged: {error}. {_restore(path)}") from error
        full = isinstance(error, sqlite3.OperationalError) and free_bytes(path) < SPARE_BYTES
        if name.startswith("SQLITE_FULL") or full:
            message = f"the disk of {path.parent} is full; nothing was stored: make room"
            raise Unavailable(message, retry_after=5) from error
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            raise _closed() from error
        if isinstance(error, sqlite3.OperationalError):
            raise Unavailable(f"the record store {path} cannot be used: {error}", retry_after=5) from error
        raise
