"""Forgetting: from the commit on, nothing returns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from soma_core.domain.errors import InvalidInput, NotFound, Retryable
from soma_core.domain.memory import Scope
from soma_core.domain.query import Filter, Selection
from soma_core.domain.receipts import ForgetReceipt, Forgotten
from soma_core.ports.records import RecordStore
from soma_core.services.caching import Bodies
from soma_core.services.progress import IndexState
from soma_core.services.requests import request_of


class Forgetting:
    """Hides or removes memories in the records, then takes them out of the index and the cache."""

    def __init__(self, records: RecordStore, indexing: IndexState, bodies: Bodies) -> None:
        self._records = records
        self._bodies = bodies
        self._indexing = indexing

    def forget(
        self,
        scope: Scope,
        ids: Sequence[str],
        wanted: Filter,
        *,
        purge: bool,
        dry_run: bool,
        reason: str | None,
    ) -> ForgetReceipt:
        """Forget the memories with these ids, or all that match the filter.

        Raises `InvalidInput` without ids and filter or with both, `NotFound` when every id is unknown, `Conflict`.
        """
        if bool(ids) == (not wanted.is_empty):
            raise InvalidInput(
                "ids: give either ids or a filter (thread, tags, before, speaker), and not both", fields=("ids",)
            )
        found = self._records.find(scope.namespace, ids)
        missing = [given for given in ids if given not in found]
        if ids and not found:
            raise NotFound(f"ids: no memory has the id {', '.join(missing)}", fields=("ids",))
        selection = Selection(tuple(found.values()), wanted)
        if dry_run:
            plan = self._records.select(scope.namespace, selection, purge=purge)
            return ForgetReceipt(plan.ids, plan.count, missing, True, "untouched", "untouched")
        request = request_of(scope, "forget", [list(ids), wanted, purge, reason])
        forgotten = self._records.forget(scope.namespace, selection, request, purge=purge, reason=reason)
        return self._receipt(scope.namespace, forgotten, missing, purge)

    def _receipt(self, namespace: str, forgotten: Forgotten, missing: list[str], purge: bool) -> ForgetReceipt:
        self._indexing.changed(namespace)
        let_go = self._bodies.drop(namespace, forgotten.ids) and len(forgotten.ids) == forgotten.count
        followed = self._indexing.words_now(namespace)
        index: Literal["removed", "pending"] = "removed" if followed and let_go else "pending"
        if not purge:
            return ForgetReceipt(forgotten.ids, forgotten.count, missing, False, "forgotten", index)
        records: Literal["purged", "purge pending"] = "purged" if self._erased() else "purge pending"
        return ForgetReceipt(forgotten.ids, forgotten.count, missing, False, records, index)

    def _erased(self) -> bool:
        try:
            return self._records.erase(at_once=True)
        except Retryable:
            return False
