"""Several processes that serve on one socket."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Semaphore
from typing import TypeAlias

from soma_core.settings import Settings, hand_on

log = logging.getLogger(__name__)

Work: TypeAlias = Callable[[Settings, socket.socket, Callable[[], None]], int]
"""Serves on a socket until told to end, tells when it has begun, and gives the exit status."""

LOOK_SECONDS = 0.1
GRACE_SECONDS = 5.0
"""Beyond what requests at work get, for what has to be closed."""

_spawn = multiprocessing.get_context("spawn")
multiprocessing.allow_connection_pickling()


class Crew:
    """Starts `settings.workers` processes that each do `work`, and replaces those that are killed.

    One that ends by itself, because it cannot start or fails, ends all. They end with this process, however it ends.
    """

    def __init__(self, settings: Settings, work: Work, listening: socket.socket) -> None:
        self._settings = settings
        self._work = work
        self._listening = listening
        self._serving = _spawn.Semaphore(0)
        self._ending = threading.Event()
        self._processes: list[BaseProcess] = []

    def run(self, on_serving: Callable[[], None]) -> int:
        """Serve until told to end; the exit status. `on_serving` is called once, when all of them serve."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ending.set())
        with _metrics_folder():
            try:
                self._processes = [self._started() for _ in range(self._settings.workers)]
                return self._watch(on_serving)
            finally:
                self._end()

    def _watch(self, on_serving: Callable[[], None]) -> int:
        awaited = len(self._processes)
        while not self._ending.is_set():
            if awaited and self._serving.acquire(timeout=LOOK_SECONDS):
                awaited -= 1
                if not awaited:
                    on_serving()
            wait([process.sentinel for process in self._processes], 0 if awaited else LOOK_SECONDS)
            for place, process in enumerate(self._processes):
                if process.exitcode is None or self._ending.is_set():
                    continue
                if process.exitcode >= 0:
                    return process.exitcode or 1
                log.warning("process %d was killed by signal %d; another begins", process.pid, -process.exitcode)
                self._processes[place] = self._started()
        return 0

    def _started(self) -> BaseProcess:
        process = _spawn.Process(target=_serve, args=(self._settings, self._work, self._listening, self._serving))
        process.start()
        return process

    def _end(self) -> None:
        deadline = time.monotonic() + self._settings.shutdown + GRACE_SECONDS
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()


def _serve(settings: Settings, work: Work, listening: socket.socket, serving: Semaphore) -> None:
    """What one of the processes does."""
    threading.Thread(target=_leave_with_parent, name="parent", daemon=True).start()
    raise SystemExit(work(settings, listening, serving.release))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _metrics_folder() -> Iterator[None]:
    """Where the processes add up their metrics (see `soma_mcp.http.metrics`)."""
    with tempfile.TemporaryDirectory(prefix="soma-metrics-", ignore_cleanup_errors=True) as folder:
        hand_on("PROMETHEUS_MULTIPROC_DIR", folder)
        yield
