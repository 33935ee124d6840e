"""Keeping memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.receipts import Similar, StoreReceipt, StoreStatus
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

    def store(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]:
        """Store all or none; answered after the commit. Raises `Conflict`, `Unavailable`."""
        changes = self._records.store(scope.namespace, memories, request_of(scope, "store", memories))
        self._indexing.changed(scope.namespace)
        self._indexing.words_now(scope.namespace)
        indexed = self._indexing.level(scope.namespace)
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


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
