"""Whether an answer seems to be about its question at all: measured, see docs/recall.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Relevance = Literal["some", "none", "unknown"]

THRESHOLDS = {"bge-small-en-v1.5:int8": 0.67}
"""By model: cosines of one say nothing about those of another. Below it, nothing is clearly relevant."""
SHARE_WEIGHT = 0.2
LOOKED_AT = 3
"""So many of the best hits are asked for the question's words."""


def relevance(model_id: str, cosine: float | None, share: Callable[[], float], complete: bool) -> Relevance:
    """What the best cosine of all candidates, and the best share of the question's words in a passage, come to.

    The share is asked for only where it may matter. Without a threshold for the model the answer is unknown. So it is
    where the answer misses something and what there is says nothing.
    """
    threshold = THRESHOLDS.get(model_id)
    if threshold is None:
        return "unknown"
    cosine = cosine or 0.0
    if cosine >= threshold or cosine + SHARE_WEIGHT * share() >= threshold:
        return "some"
    return "none" if complete else "unknown"
