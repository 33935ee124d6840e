"""One more thread, for what can be done while the caller waits for something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Meanwhile:
    """Does one thing at a time beside its callers; its thread begins with the first and ends with this."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="soma-meanwhile")
        self._lock = threading.Lock()
        self._busy = False

    def begin(self, work: Callable[[], T]) -> Future[T] | None:
        """Start on `work`; None while it is busy: where several callers are at work, one more thread helps nobody."""
        with self._lock:
            if self._busy:
                return None
            self._busy = True
        try:
            begun = self._thread.submit(work)
        except RuntimeError:  # no more threads to be had
            self._busy = False
            return None
        begun.add_done_callback(self._done)
        return begun

    def _done(self, _: object) -> None:
        self._busy = False
