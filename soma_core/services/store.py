"""Keeping memories."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.receipts import Indexed, Similar, StoreReceipt, StoreStatus
from soma_core.ports.records import RecordStore
from soma_core.services.indexing import Indexing
from soma_core.services.recall import Recalling
from soma_core.services.requests import request_of

SIMILAR_LIMIT = 3
SIMILAR_COSINE = 0.85
"""Texts of the default model below this cosine merely share a subject."""


class Storing:
    """Commits memories, then brings their words into the index when that is quick."""

    def __init__(self, records: RecordStore, indexing: Indexing, recalling: Recalling) -> None:
        self._records = records
        self._indexing = indexing
        self._recalling = recalling
        self._at_work = 0
        self._counting = threading.Lock()

    def store(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """Store all or none; answered after the commit. Raises `Conflict`, `Unavailable`."""
        with self._one_more():
            changes = self._records.store(scope.namespace, memories, request_of(scope, "store", memories))
            alone = self._at_work == 1
        indexed: Indexed = "lexical" if alone and self._indexing.words_now(scope.namespace) else "none"
        self._indexing.changed(scope.namespace)
        return [StoreReceipt(change.id, change.version, change.status, indexed) for change in changes]

    def store_checked(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """Look for similar memories first; one with the same text is named instead of storing it again."""
        request = request_of(scope, "store", [memory])
        near, candidates = self._recalling.nearest(scope.namespace, memory.text, SIMILAR_LIMIT)
        similar = [Similar(found.id, found.text, score) for found, score in near if score >= SIMILAR_COSINE]
        twin = next((found for found in candidates if _folded(found.text) == _folded(memory.text)), None)
        if twin and not self._records.knows(scope.namespace, request):
            return StoreReceipt(
                twin.id, twin.version, StoreStatus.DUPLICATE, self._indexing.level(scope.namespace), similar
            )
        receipt = self.store(scope, [memory])[0]
        return replace(receipt, similar=[near for near in similar if near.id != receipt.id])

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Count the callers at work: in a crowd the indexer brings the words of many in at once, which is cheaper."""
        with self._counting:
            self._at_work += 1
        try:
            yield
        finally:
            with self._counting:
                self._at_work -= 1


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
