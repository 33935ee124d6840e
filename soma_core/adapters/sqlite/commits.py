"""One commit for concurrent writers."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Batch:
    """A caller's works and what came of each; `turn` is released when it is done, or when the caller shall lead."""

    __slots__ = ("done", "outcomes", "turn", "works")

    def __init__(self, works: Sequence[Work[Any]]) -> None:
        self.works = works
        self.done = False
        self.outcomes: list[Any] = []
        self.turn = threading.Lock()
        self.turn.acquire()


class GroupCommit:
    """Runs works on one connection; those that arrive while a commit is synced share the next one.

    One caller leads: it runs all works that wait, each under its own savepoint, and commits them together. Then it
    wakes their callers, and the first who came meanwhile to lead next.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._using = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queue: list[_Batch] = []
        self._led = False

    def run(self, works: Sequence[Work[T]]) -> list[T | BaseException]:
        """Run each work for itself, in the order given; its result, or the failure that undid it alone."""
        batch = _Batch(works)
        with self._queue_lock:
            self._queue.append(batch)
            leads, self._led = not self._led, True
        if not leads:
            batch.turn.acquire()
        if not batch.done:
            self._lead(batch)
        return batch.outcomes

    def outside(self, work: Work[T]) -> T:
        """Run `work` between transactions."""
        with self._using:
            return work(self._db)

    def close(self) -> None:
        with self._using:
            self._db.close()

    def _lead(self, own: _Batch) -> None:
        with self._using:
            with self._queue_lock:
                batches, self._queue = self._queue, []
            self._commit(batches)
        with self._queue_lock:
            following = self._queue[:1]
            self._led = bool(following)
        for batch in (*batches, *following):
            if batch is not own:
                batch.turn.release()

    def _commit(self, batches: list[_Batch]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for batch in batches:
                batch.outcomes = [self._attempt(work) for work in batch.works]
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            for batch in batches:
                batch.outcomes = [_failure(outcome) or error for outcome in batch.outcomes or batch.works]
        finally:
            for batch in batches:
                batch.done = True

    def _attempt(self, work: Work[T]) -> T | Exception:
        """Run one work; its own failure undoes it alone, a failure of the file ends the whole transaction."""
        outcome: T | Exception
        self._db.execute("SAVEPOINT work")
        try:
            outcome = work(self._db)
        except sqlite3.Error:
            raise
        except Exception as error:
            outcome = error
            self._db.execute("ROLLBACK TO work")
        self._db.execute("RELEASE work")
        return outcome


def _failure(outcome: object) -> BaseException | None:
    return outcome if isinstance(outcome, BaseException) else None
