"""Keeping memories."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.receipts import Change, Indexed, Similar, StoreReceipt, StoreStatus
from soma_core.ports.records import RecordStore, Submission
from soma_core.services.progress import IndexState
from soma_core.services.recall import Recalling
from soma_core.services.requests import request_of

CROWD_SECONDS = 0.05
SIMILAR_LIMIT = 3
SIMILAR_COSINE = 0.85
"""Texts of the default model below this cosine merely share a subject."""


class Storing:
    """Commits memories, then brings their words into the index when that is quick."""

    def __init__(self, records: RecordStore, indexing: IndexState, recalling: Recalling) -> None:
        self._records = records
        self._indexing = indexing
        self._recalling = recalling
        self._callers = 0
        self._crowded = -math.inf
        self._counting = threading.Lock()

    def store(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """Store all or none; answered after the commit. Raises `Conflict`, `Unavailable`."""
        outcome = self.store_each([(scope, memories)])[0]
        if isinstance(outcome, SomaError):
            raise outcome
        return outcome

    def store_each(self, calls: Sequence[tuple[Scope, Sequence[NewMemory]]]) -> list[list[StoreReceipt] | SomaError]:
        """Do what `store` does for each caller, in one commit; each stands or falls alone.

        Raises `Unavailable` when nothing could be stored.
        """
        with self._at_work(len(calls)):
            outcomes = self._records.store(
                [Submission(scope.namespace, new, request_of(scope, "store", new)) for scope, new in calls]
            )
            alone = self._quiet()
        first = calls[0][0].namespace
        indexed: Indexed = "lexical" if alone and self._indexing.words_now(first) else "none"
        for namespace in {scope.namespace for scope, _ in calls}:
            self._indexing.changed(namespace)
        return [_receipts(outcome, indexed) for outcome in outcomes]

    def store_checked(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """Look for similar memories first; one with the same text is named instead of storing it again."""
        request = request_of(scope, "store", [memory])
        near, candidates = self._recalling.nearest(scope.namespace, memory.text, memory.speaker, SIMILAR_LIMIT)
        similar = [Similar(found.id, found.text, score) for found, score in near if score >= SIMILAR_COSINE]
        twin = next((found for found in candidates if _folded(found.text) == _folded(memory.text)), None)
        if twin and not self._records.knows(scope.namespace, request):
            return StoreReceipt(
                twin.id, twin.version, StoreStatus.DUPLICATE, self._indexing.level(scope.namespace), similar
            )
        receipt = self.store(scope, [memory])[0]
        return replace(receipt, similar=[near for near in similar if near.id != receipt.id])

    def _quiet(self) -> bool:
        """Whether callers come one at a time: the words of a crowd are brought in many at once, which is cheaper."""
        return time.monotonic() - self._crowded > CROWD_SECONDS

    @contextmanager
    def _at_work(self, callers: int) -> Iterator[None]:
        with self._counting:
            self._callers += callers
            if self._callers > 1:
                self._crowded = time.monotonic()
        try:
            yield
        finally:
            with self._counting:
                self._callers -= callers


def _receipts(outcome: list[Change] | SomaError, indexed: Indexed) -> list[StoreReceipt] | SomaError:
    if isinstance(outcome, SomaError):
        return outcome
    return [StoreReceipt(change.id, change.version, change.status, indexed) for change in outcome]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
