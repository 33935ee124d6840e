"""One commit for concurrent writers."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from soma_core.adapters.gathering import Gathering, Job

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

PAGES_A_COMMIT = 12
ROWS_A_PAGE = 4


class GroupCommit(Gathering[Work, Any]):
    """Runs jobs on one connection; those that arrive while a commit is synced share the next one.

    Each runs under its own savepoint.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._using = threading.Lock()
        super().__init__(turn=self._using)
        self.pages = 0
        """About how many pages were written to the log so far."""

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result: T = self.take(work)
        return result

    def outside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` between transactions."""
        with self._using:
            return work(self._db)

    def close(self) -> None:
        with self._using:
            self._db.close()

    def carry_out(self, jobs: Sequence[Job[Work, Any]]) -> None:
        try:
            changes = self._db.total_changes
            self._db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._attempt(job)
            self._db.execute("COMMIT")
            self.pages += PAGES_A_COMMIT + (self._db.total_changes - changes) // ROWS_A_PAGE
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            raise

    def _attempt(self, job: Job[Work, Any]) -> None:
        """Run one job; its own failure undoes it alone, a failure of the file ends the whole transaction."""
        self._db.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._db)
        except sqlite3.Error:
            raise
        except Exception as error:
            job.error = error
            self._db.execute("ROLLBACK TO job")
        self._db.execute("RELEASE job")
