"""Callers whose work is done together: for stores in which a commit is dear."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Job(Generic[W, R]):
    """What a caller brings, and what came of it; `turn` is released when it is done, or when the caller shall lead."""

    __slots__ = ("done", "error", "result", "turn", "work")

    def __init__(self, work: W) -> None:
        self.work = work
        self.done = False
        self.result: R | None = None
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Gathering(ABC, Generic[W, R]):
    """What comes while other work is carried out is carried out together afterwards.

    One caller leads: it carries out all that waits, wakes the callers, and the first who came meanwhile to lead next.
    """

    def __init__(self, *, turn: AbstractContextManager[object] | None = None, most: int = sys.maxsize) -> None:
        """`turn` is held by who leads, from before the jobs are taken on; `most` of them at once."""
        self._turn = turn or nullcontext()
        self._most = most
        self._queue_lock = threading.Lock()
        self._queue: list[Job[W, R]] = []
        self._led = False

    def take(self, work: W) -> R:
        """Have this carried out, with whatever else waits."""
        job: Job[W, R] = Job(work)
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

    @abstractmethod
    def carry_out(self, jobs: Sequence[Job[W, R]]) -> None:
        """Give each job its result or its error. What this raises is the error of all that have none."""

    def _lead(self, own: Job[W, R]) -> None:
        with self._turn:
            with self._queue_lock:
                jobs, self._queue = self._queue[: self._most], self._queue[self._most :]
            try:
                self.carry_out(jobs)
            except BaseException as error:
                for job in jobs:
                    job.error = job.error or error
        for job in jobs:
            job.done = True
        with self._queue_lock:
            following = self._queue[:1]
            self._led = bool(following)
        for job in (*jobs, *following):
            if job is not own:
                job.turn.release()
