"""Connections to Postgres: a few that are kept, lent to one thread at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection, cursor

from soma_core.adapters.postgres.errors import Address, translated
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.domain.errors import InvalidInput, Overloaded, Unavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

CONNECT_SECONDS = 4
"""For each address of the host; a host name may have two."""
STATEMENT_SECONDS = 30
LOCK_SECONDS = 10
IDLE_SECONDS = 10
"""A process that stands still in a transaction lets go of its locks after this."""
WAIT_SECONDS = 5.0
"""How long a caller waits for a connection."""
CLOSING_SECONDS = 10.0

PREPARE = f"""
SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET jit = off;
SET statement_timeout = '{STATEMENT_SECONDS}s'; SET lock_timeout = '{LOCK_SECONDS}s';
SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
LOST = ("57P01", "57P02", "57P03", "25006", "25P03")
"""The server ends, restarts, is a replica now, or gave this connection up."""
KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}


def connect(address: Address) -> connection:
    """A connection on which what was committed is seen and durable, and no statement lasts for ever."""
    options: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "application_name": "soma", **KEEPALIVE}
    options["target_session_attrs"] = "read-write"  # a replica lags: it may still have what was forgotten
    given = psycopg2.extensions.parse_dsn(address.url)
    try:
        made: connection = psycopg2.connect(
            address.url, **{name: value for name, value in options.items() if name not in given}
        )
        made.autocommit = True
        with made.cursor() as own:
            own.execute(PREPARE)
    except psycopg2.Error as error:
        raise address.connecting(error) from error
    return made


@contextlib.contextmanager
def unhurried(db: connection) -> Iterator[cursor]:
    """For statements that may take as long as they need."""
    with db.cursor() as found:
        found.execute("SET statement_timeout = 0")
        try:
            yield found
        except BaseException:
            db.close()
            raise
        found.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")


class Pool:
    """At most `size` connections. Safe to call from many threads.

    A connection that broke is thrown away with all that idle, and what it was used for is done once more on a new
    one: a read, and a write too, because its request id is committed with it and tells whether it was applied.
    """

    def __init__(self, address: Address, size: int) -> None:
        self.address = address
        self._size = size
        self._used = 0
        self._idle: list[connection] = []
        self._returned = threading.Condition()
        self._writers = threading.BoundedSemaphore(max(1, size // 2))
        self._closed = False

    def read(self, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query, which sees all that was committed before."""
        return self._twice(lambda db: _rows(db, sql, values))

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction and return after it is durable; when it raises, nothing of it is kept.

        `work` may be run twice, even when the first time was committed: it must find that out by a request id, or
        do no harm. At most half of the connections write, so that readers need not wait for writers.
        """
        if not self._writers.acquire(timeout=WAIT_SECONDS):
            raise _exhausted()
        try:
            return self._twice(lambda db: _transact(db, work))
        finally:
            self._writers.release()

    @contextlib.contextmanager
    def lent(self) -> Iterator[connection]:
        """A connection for this thread alone. Raises `Overloaded` when none becomes free in time."""
        with self._returned:
            if not self._returned.wait_for(lambda: self._closed or self._used < self._size, WAIT_SECONDS):
                raise _exhausted()
            if self._closed:
                raise Unavailable("the record store is closed")
            self._used += 1
            db = self._idle.pop() if self._idle else None
        try:
            db = db or self.connect()
            yield db
        finally:
            self._take_back(db)

    def close(self) -> None:
        """Wait for what is at work and close every connection."""
        with self._returned:
            self._closed = True
            self._returned.notify_all()
            self._returned.wait_for(lambda: self._used == 0, CLOSING_SECONDS)
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()

    def connect(self) -> connection:
        """A connection beside those of the pool, for whoever closes it."""
        try:
            return connect(self.address)
        except InvalidInput as error:  # what was right when the store was opened is no caller's fault
            raise Unavailable(error.message, fields=error.fields, retry_after=5) from error

    def _take_back(self, db: connection | None) -> None:
        whole = db is not None and not db.closed and db.info.transaction_status == TRANSACTION_STATUS_IDLE
        with self._returned:
            self._used -= 1
            if db is not None and whole and not self._closed:
                self._idle.append(db)
                db = None
            self._returned.notify_all()
        if db is not None:
            db.close()

    def _twice(self, use: Callable[[connection], T]) -> T:
        with translated(self.address):
            try:
                with self.lent() as db:
                    return _noticing_loss(db, use)
            except _Lost as lost:
                log.warning("the connection to %s was lost: %s", self.address.shown, lost)
                self._drop_idle()
            with self.lent() as db:
                return use(db)

    def _drop_idle(self) -> None:
        with self._returned:
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()


class _Lost(Exception):
    """The connection broke; it is not known what the server still did."""


def _noticing_loss(db: connection, use: Callable[[connection], T]) -> T:
    try:
        return use(db)
    except psycopg2.Error as error:
        if db.closed or error.pgcode in LOST:
            db.close()
            raise _Lost(" ".join(str(error).split())) from error
        raise


def _rows(db: connection, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with db.cursor() as found:
        found.execute(sql, values)
        return found.fetchall()


def _transact(db: connection, work: Callable[[Transaction], T]) -> T:
    with db.cursor() as own:
        transaction = Transaction(own)
        try:
            outcome = work(transaction)
            transaction.commit()
        except BaseException:
            with contextlib.suppress(psycopg2.Error):
                own.execute("ROLLBACK")
            raise
        return outcome


def _exhausted() -> Overloaded:
    return Overloaded("all connections to Postgres are in use; nothing was taken: raise POSTGRES_POOL_SIZE")
