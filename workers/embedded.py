"""Runs the workers of an embedded engine as threads."""

from __future__ import annotations

import threading
from types import TracebackType

from soma_core.engine import Soma
from workers.retention import Retention
from workers.switching import Switching
from workers.vector_indexer import VectorIndexer


class Workers:
    """The threads behind one engine: start them, then close them before the engine."""

    def __init__(self, soma: Soma) -> None:
        self._stop = threading.Event()
        self._soma = soma
        works = (VectorIndexer(soma, self._stop), Retention(soma.housekeep, self._stop), Switching(soma, self._stop))
        jobs = [work.run for work in works]
        self._threads = [threading.Thread(target=job, name=job.__qualname__, daemon=True) for job in jobs]

    def start(self) -> Workers:
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Stop after the batch at work."""
        self._stop.set()
        self._soma.indexing.stop()
        self._soma.served.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def __enter__(self) -> Workers:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
