"""Letting a model that reads question and text together have its say on the best candidates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from soma_core.domain.query import Hit
from soma_core.domain.scoring import boosted, spread
from soma_core.ports.reranker import Reranker

log = logging.getLogger(__name__)

RERANKED = 30
"""So many of the best are read by the model."""
WEIGHT = 1.0
"""Of the model's scores, scaled to 0..3 like an arm's: as much as both arms together. No model could be measured."""


def reranked(reranker: Reranker, question: str, hits: Sequence[Hit], degraded: list[str]) -> list[Hit]:
    """The hits with the model's scores among their boosts, the first 30 in their new order.

    Without the model they stay as they are, and `degraded` says so.
    """
    first = list(hits[:RERANKED])
    if not first:
        return []
    if not reranker.ready:
        degraded.append("reranker: its model is not loaded, the answer is in the order of words and meaning")
        return list(hits)
    try:
        scores = reranker.scores(question, [hit.memory.text for hit in first])
    except Exception:
        log.exception("reranking failed")
        degraded.append("reranker: it failed, the answer is in the order of words and meaning")
        return list(hits)
    scaled = spread({hit.memory.id: score for hit, score in zip(first, scores, strict=True)})
    lifted = [replace(hit, parts=boosted(hit.parts, WEIGHT * scaled[hit.memory.id])) for hit in first]
    return [*sorted(lifted, key=lambda hit: -hit.parts.total), *hits[RERANKED:]]
