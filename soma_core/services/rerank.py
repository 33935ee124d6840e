"""Letting a model that reads question and text together have its say on the best candidates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

from soma_core.domain.scoring import Score, spread
from soma_core.ports.records import RecordStore
from soma_core.ports.reranker import Reranker

log = logging.getLogger(__name__)

RERANKED = 30
"""So many of the best are read by the model."""
WEIGHT = 1.0
"""Of the model's scores, scaled to 0..3 like an arm's: as much as both arms together. No model could be measured."""


class Reranking:
    """Puts the best candidates into another order."""

    def __init__(self, records: RecordStore, reranker: Reranker) -> None:
        self._records = records
        self._reranker = reranker

    def reranked(
        self,
        namespace: str,
        question: str,
        best: Sequence[int],
        scores: Mapping[int, Score],
        degraded: list[str],
    ) -> tuple[list[int], dict[int, Score]]:
        """The ids in their new order, and all scores with the model's among the boosts of the first 30.

        Without the model they stay as they are, and `degraded` says so.
        """
        if not self._reranker.ready:
            degraded.append("reranker: its model is not loaded, the answer is in the order of words and meaning")
            return list(best), dict(scores)
        memories = self._records.read(namespace, [UUID(int=key) for key in best[:RERANKED]])
        first = [key for key in best[:RERANKED] if UUID(int=key) in memories]
        try:
            read = self._reranker.scores(question, [memories[UUID(int=key)].text for key in first]) if first else []
        except Exception:
            log.exception("reranking failed")
            degraded.append("reranker: it failed, the answer is in the order of words and meaning")
            return list(best), dict(scores)
        scaled = spread(dict(zip(first, read, strict=True)))
        lifted = {key: scores[key].boosted(WEIGHT * scaled[key]) for key in first}
        order = sorted(first, key=lambda key: -lifted[key].total)
        return [*order, *best[RERANKED:]], {**scores, **lifted}
