"""One commit for concurrent writers."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PAGES_A_COMMIT = 12
ROWS_A_PAGE = 4


class _Job(Generic[T]):
    """A caller's work, and what came of it; `turn` is released when it is done, or when the caller shall lead."""

    __slots__ = ("done", "error", "result", "turn", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class GroupCommit:
    """Runs jobs on one connection; those that arrive while a commit is synced share the next one.

    One caller leads: it runs all jobs that wait, each under its own savepoint, and commits them together. Then it
    wakes their callers, and the first who came meanwhile to lead next.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._using = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queue: list[_Job[Any]] = []
        self._led = False
        self.pages = 0
        """About how many pages were written to the log so far."""

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        job = _Job(work)
        with self._queue_lock:
            self._queue.append(job)
            leads, self._led = not self._led, True
        if not leads:
            job.turn.acquire()
        if not job.done:
            self._lead(job)
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def outside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` between transactions."""
        with self._using:
            return work(self._db)

    def close(self) -> None:
        with self._using:
            self._db.close()

    def _lead(self, own: _Job[Any]) -> None:
        with self._using:
            with self._queue_lock:
                jobs, self._queue = self._queue, []
            self._commit(jobs)
        with self._queue_lock:
            following = self._queue[:1]
            self._led = bool(following)
        for job in (*jobs, *following):
            if job is not own:
                job.turn.release()

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        try:
            changes = self._db.total_changes
            self._db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._attempt(job)
            self._db.execute("COMMIT")
            self.pages += PAGES_A_COMMIT + (self._db.total_changes - changes) // ROWS_A_PAGE
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            for job in jobs:
                job.error = job.error or error
        finally:
            for job in jobs:
                job.done = True

    def _attempt(self, job: _Job[Any]) -> None:
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
