"""Work on a list in the caller's thread and a few helpers, letting urgent calls go first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew:
    """Up to `size` threads at work: each call's own, and as many helpers as there is room for when it begins.

    Helpers live as long as their call, so there is nothing to close. They are daemons: a process that leaves does
    not wait for a long list.
    """

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self._working = 0
        self._urgent = 0
        self._quiet = threading.Condition()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """While inside, helpers of yielding lists stand aside after the item they are at. Their callers go on."""
        with self._quiet:
            self._urgent += 1
        try:
            yield
        finally:
            with self._quiet:
                self._urgent -= 1
                self._quiet.notify_all()

    def map(self, work: Callable[[Item], Result], items: Sequence[Item], *, yielding: bool = False) -> list[Result]:
        """`work` of each item, in the order given. The first error ends the list and is raised.

        With `yielding`, helpers stand aside for `urgent` calls.
        """
        job = _Job(work, items)
        helpers = self._hire(job, len(items) - 1, yielding)
        job.run()
        self._leave()
        for helper in helpers:
            helper.join()
        return job.results()

    def _hire(self, job: _Job[Item, Result], wanted: int, yielding: bool) -> list[threading.Thread]:
        """Count the caller in, and start helpers while there is room."""
        with self._quiet:
            self._working += 1
            room = max(0, min(wanted, self.size - self._working))
            self._working += room
        helpers = [
            threading.Thread(target=self._help, args=(job, yielding), name="soma-embed", daemon=True)
            for _ in range(room)
        ]
        return [helper for helper in helpers if self._started(helper)]

    def _started(self, helper: threading.Thread) -> bool:
        try:
            helper.start()
        except RuntimeError:  # no more threads to be had: the caller does the work alone
            self._leave()
            return False
        return True

    def _help(self, job: _Job[Item, Result], yielding: bool) -> None:
        try:
            job.run((lambda: self._stand_aside(job)) if yielding else lambda: None)
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._quiet:
            self._working -= 1
            self._quiet.notify_all()

    def _stand_aside(self, job: _Job[Item, Result]) -> None:
        with self._quiet:
            self._quiet.wait_for(lambda: not (self._urgent and job.todo))


class _Job(Generic[Item, Result]):
    """One list, worked on by several threads at once."""

    def __init__(self, work: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._work = work
        self._items = items
        self._done: dict[int, Result] = {}
        self._error: BaseException | None = None
        self.todo = deque(range(len(items)))

    def run(self, before_each: Callable[[], None] = lambda: None) -> None:
        """Work until nothing is left, or until the first error of any thread."""
        try:
            before_each()
            while (at := self._take()) is not None:
                self._done[at] = self._work(self._items[at])
                before_each()
        except BaseException as error:
            self._error = self._error or error
            self.todo.clear()

    def results(self) -> list[Result]:
        """What came of each item, in order; or the error that ended the work."""
        if self._error:
            raise self._error
        return [self._done[at] for at in range(len(self._items))]

    def _take(self) -> int | None:
        try:
            return self.todo.popleft()
        except IndexError:
            return None
