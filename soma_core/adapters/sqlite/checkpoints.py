"""Bringing the write-ahead log into the file, beside the writer instead of in its way."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

PAGES = 1_000
"""A checkpoint is due after about so many pages of log."""
SAFETY_PAGES = 16_000
"""The writer itself makes one when the log has this many: 64 MB."""


class Checkpoints:
    """A thread, started when it is first needed, that makes checkpoints on a connection of its own.

    SQLite makes them at the end of a commit otherwise; the two syncs of the whole file then stand in the way of that
    commit and all that wait for it, some 80 ms under load. Readers and the writer go on meanwhile.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._due = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._done = 0
        self._closed = False

    def look(self, pages: int) -> None:
        """The writer has written about so many pages since it was opened."""
        if pages - self._done < PAGES:
            return
        self._done = pages
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            self._thread.start()
        self._due.set()

    @property
    def held(self) -> threading.Lock:
        """While it is held no checkpoint begins, and none is at work."""
        return self._lock

    def close(self) -> None:
        """End the one at work and begin no other."""
        self._closed = True
        self._due.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        db: sqlite3.Connection | None = None
        while self._due.wait() and not self._closed:
            self._due.clear()
            try:
                with self._lock:
                    db = db or self._connect()
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:  # such as a full disk: the log stays, and nothing is lost
                log.debug("checkpoint: %s", error)
        if db is not None:
            db.close()
