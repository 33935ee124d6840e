"""The workers of a distributed memory: which there are, and running them in one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import cached_property, partial
from types import TracebackType
from typing import Self

from soma_core.bootstrap import create_memory_system, opened_outbox
from soma_core.domain.memory import Scope
from soma_core.engine import Soma
from soma_core.ports.stream import INDEXER, EventStream
from soma_core.servers import kafka_address, open_stream
from soma_core.settings import Settings
from workers import outbox_relay, retention
from workers.metrics import WorkerMetrics
from workers.outbox_relay import OutboxRelay
from workers.retention import Retention
from workers.runner import Runner
from workers.switching import Switching

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2

Job = Callable[[], None]


class WorkerProcess:
    """Some of the workers, each a thread of this process, on connections that they share."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics, stop: threading.Event) -> None:
        self._settings = settings
        self._metrics = metrics
        self._stop = stop
        self._open = ExitStack()
        kafka_address(settings)

    def run(self, names: Sequence[str], ready: Callable[[], None]) -> None:
        """Connect, say so, and work until told to stop; the batches at work are finished then.

        Raises what opening raises: `InvalidInput`, `Unavailable`, `ModelMissing`, `ModelMismatch`.
        """
        threads = [threading.Thread(target=job, name=name) for name in names for job in WORKERS[name](self)]
        for thread in threads:
            thread.start()
        ready()
        try:
            while not self._stop.wait(WATCH_SECONDS) and all(thread.is_alive() for thread in threads):
                pass
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    @cached_property
    def _soma(self) -> Soma:
        return self._open.enter_context(closing(create_memory_system(self._settings)))

    @cached_property
    def _stream(self) -> EventStream:
        return self._open.enter_context(closing(open_stream(self._settings)))

    def _indexer(self) -> list[Job]:
        self._soma.warm(Scope("", caller=INDEXER))
        runner = Runner(INDEXER, self._stream, self._soma.apply, self._metrics, self._stop)
        return [runner.run, Switching(self._soma, self._stop).run]

    def _relay(self) -> list[Job]:
        settings = self._settings
        outbox = self._open.enter_context(opened_outbox(settings))
        check = not settings.skip_schema_validation
        return [OutboxRelay(outbox, self._stream, self._metrics, self._stop, check=check).run]

    def _retention(self) -> list[Job]:
        name = retention.COMPONENT
        done, failed = partial(self._metrics.succeeded, name), partial(self._metrics.failed, name)
        return [Retention(self._soma.housekeep, self._stop, done=done, failed=failed).run]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


WORKERS: dict[str, Callable[[WorkerProcess], list[Job]]] = {
    INDEXER: WorkerProcess._indexer,
    outbox_relay.COMPONENT: WorkerProcess._relay,
    retention.COMPONENT: WorkerProcess._retention,
}
"""What each worker does, by its name."""
