"""Follows the events into the index: words at once, vectors when callers leave room."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from soma_core.domain.errors import ModelMissing, Retryable, SomaError, Unavailable
from soma_core.domain.memory import Scope
from soma_core.engine import Soma
from soma_core.services.indexing import EMBED_BATCH, Indexing
from soma_core.services.writing import Interrupted

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
SHARED_SECONDS = 0.2
"""The same where other processes store too: so often their events are looked for."""
RETRY_SECONDS = 5.0
MODEL_RETRY_SECONDS = 60.0
START_SECONDS = 1.0
"""The model is loaded once the first caller has its answer, or when none came for so long."""

GATHER_SECONDS = 0.05
"""Between two batches of words for a crowd; recall finds what waits by itself."""
BUSY_BATCH = 8
"""Events embedded at a time while callers are served."""
QUIET_SECONDS = 0.02
PATIENCE_SECONDS = 1.0
"""A batch waits for callers to be quiet, but not longer than this: meaning must not starve."""

CALLER = Scope("", caller="vector_indexer")


class VectorIndexer:
    """One pass after another over the namespaces that changed."""

    def __init__(self, soma: Soma, stop: Event) -> None:
        self._soma = soma
        self._stop = stop
        self._model_tried = self._model_failed = False
        self._model_due = time.monotonic() + START_SECONDS
        self._most = EMBED_BATCH

    def run(self) -> None:
        """Work until told to stop; a failure is logged and tried again."""
        while not self._stop.is_set():
            try:
                if not self.step():
                    self._rest()
            except Interrupted:
                continue  # told to stop, or another generation serves now
            except SomaError as error:
                log.warning("indexing: %s", error.message)
                self._stop.wait(RETRY_SECONDS)
            except Exception:
                log.exception("indexing failed; it is tried again")
                self._stop.wait(RETRY_SECONDS)

    def step(self) -> bool:
        """Bring all new words in, and one batch of vectors a namespace; whether there was anything to do."""
        with self._soma.using() as serving:
            return self._step(serving.indexing)

    def _step(self, indexing: Indexing) -> bool:
        worked = False
        if not indexing.leads():
            self._model_ready()  # for questions
            return False
        failures: list[Unavailable] = []
        for namespace in indexing.behind():
            with _set_aside(failures):
                while not self._stop.is_set() and indexing.words_step(namespace):
                    worked = True
        if self._model_ready():
            for namespace in indexing.behind():
                with _set_aside(failures):
                    if not self._stop.is_set() and self._soma.embedder.ready:  # it may have gone away meanwhile
                        worked |= self._vectors(indexing, namespace)
                    indexing.flush(namespace, idle=False)
        if failures:
            raise failures[0]
        return worked

    def _vectors(self, indexing: Indexing, namespace: str) -> bool:
        """A batch; after a failure one event, then twice as many each time: what fails as a whole costs as a whole."""
        most, self._most = self._most, 1
        done = indexing.vectors_step(namespace, min(most, self._give_way(indexing, namespace)))
        self._most = min(2 * most, EMBED_BATCH)
        return done > 0

    def _give_way(self, indexing: Indexing, namespace: str) -> int:
        """Wait for callers to be quiet, bringing in their words; how many events to embed then."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() - self._soma.last_call < QUIET_SECONDS:
            if time.monotonic() > patience or self._stop.wait(GATHER_SECONDS):
                return BUSY_BATCH
            indexing.words_step(namespace)
        return EMBED_BATCH if time.monotonic() - self._soma.last_call > IDLE_SECONDS else BUSY_BATCH

    def _model_ready(self) -> bool:
        if not (self._model_tried and self._soma.embedder.ready) and self._model_wanted():
            self._model_tried = True
            try:
                self._soma.warm(CALLER)
            except ModelMissing as error:
                log.error("%s", error.message)
                self._try_again_after(MODEL_RETRY_SECONDS)
            except Retryable as error:
                log.warning("%s: what is stored waits for its vectors", error.message)
                self._try_again_after(max(RETRY_SECONDS, error.retry_after))
        return self._soma.embedder.ready

    def _model_wanted(self) -> bool:
        """Whether the first caller has its answer and no load of the model failed since, or it is time."""
        return (self._soma.served.is_set() and not self._model_failed) or time.monotonic() >= self._model_due

    def _try_again_after(self, seconds: float) -> None:
        self._model_failed = True
        self._model_due = time.monotonic() + seconds

    def _rest(self) -> None:
        """Nothing to do: after an idle second flush, then sleep until something changes."""
        if not (self._soma.embedder.ready or self._model_failed):
            self._soma.served.wait(START_SECONDS)
            return
        with self._soma.using() as serving:
            is_shared, leads = serving.indexing.is_shared, serving.indexing.leads()
        if self._soma.indexing.wait(SHARED_SECONDS if is_shared else IDLE_SECONDS) and leads:
            self._stop.wait(QUIET_SECONDS)
            return
        if not leads:
            return
        with self._soma.using() as serving:
            if is_shared:
                serving.indexing.look_around()
            for namespace in serving.indexing.behind():
                if not self._stop.is_set():
                    serving.indexing.settle(namespace)


@contextmanager
def _set_aside(failures: list[Unavailable]) -> Iterator[None]:
    """Let a namespace whose index is away not keep the others waiting."""
    try:
        yield
    except Unavailable as error:
        failures.append(error)
