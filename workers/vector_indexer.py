"""Follows the events into the index: words at once, vectors when callers leave room."""

from __future__ import annotations

import logging
import time
from threading import Event

from soma_core.domain.errors import ModelMissing, SomaError
from soma_core.domain.memory import Scope
from soma_core.engine import EMBED_BATCH, Soma
from soma_core.services.indexing import Interrupted

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
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
        self._indexing = soma.indexing
        self._stop = stop
        self._model_failed = False
        self._model_due = time.monotonic() + START_SECONDS

    def run(self) -> None:
        """Work until told to stop; a failure is logged and tried again."""
        while not self._stop.is_set():
            try:
                if not self.step():
                    self._rest()
            except Interrupted:
                return
            except SomaError as error:
                log.warning("indexing: %s", error.message)
                self._stop.wait(RETRY_SECONDS)
            except Exception:
                log.exception("indexing failed; it is tried again")
                self._stop.wait(RETRY_SECONDS)

    def step(self) -> bool:
        """Bring all new words in, and one batch of vectors a namespace; whether there was anything to do."""
        worked = False
        for namespace in self._indexing.behind():
            while not self._stop.is_set() and self._indexing.words_step(namespace):
                worked = True
        if self._model_ready():
            for namespace in self._indexing.behind():
                worked |= not self._stop.is_set() and self._vectors(namespace)
                self._indexing.flush(namespace, idle=False)
        return worked

    def _vectors(self, namespace: str) -> bool:
        return self._indexing.vectors_step(namespace, self._give_way(namespace)) > 0

    def _give_way(self, namespace: str) -> int:
        """Wait for callers to be quiet, bringing in their words; how many events to embed then."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() - self._soma.last_call < QUIET_SECONDS:
            if time.monotonic() > patience or self._stop.wait(GATHER_SECONDS):
                return BUSY_BATCH
            self._indexing.words_step(namespace)
        return EMBED_BATCH if time.monotonic() - self._soma.last_call > IDLE_SECONDS else BUSY_BATCH

    def _model_ready(self) -> bool:
        if not self._soma.embedder.ready and (self._first_served() or time.monotonic() >= self._model_due):
            try:
                self._soma.warm(CALLER)
            except ModelMissing as error:
                log.error("%s", error.message)
                self._model_failed = True
                self._model_due = time.monotonic() + MODEL_RETRY_SECONDS
        return self._soma.embedder.ready

    def _first_served(self) -> bool:
        """Whether the first caller has its answer and no load of the model failed since."""
        return self._soma.served.is_set() and not self._model_failed

    def _rest(self) -> None:
        """Nothing to do: after an idle second flush, then sleep until something changes."""
        if not (self._soma.embedder.ready or self._model_failed):
            self._soma.served.wait(START_SECONDS)
            return
        if self._indexing.wait(IDLE_SECONDS):
            self._stop.wait(QUIET_SECONDS)
            return
        for namespace in self._indexing.behind():
            if not self._stop.is_set():
                self._indexing.settle(namespace)
