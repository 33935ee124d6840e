"""What the question itself names, and what is known of a memory beside its words.

Every step gives each candidate a number, or an empty list for none; `scoring` weighs them.
"""

from __future__ import annotations

from collections.abc import Sequence

from soma_core.domain.candidates import Candidates
from soma_core.domain.memory import DEFAULT_IMPORTANCE, MemoryType

_DAY = 86_400 * 1_000_000
HALF_LIVES = {
    MemoryType.EPISODIC.value: 30.0 * _DAY,
    MemoryType.SEMANTIC.value: 365.0 * _DAY,
    MemoryType.PROCEDURAL.value: 365.0 * _DAY,
}
"""After how long the lift of a new memory is half as large, in microseconds: what happened ages, what is known less."""


def speakers(found: Candidates) -> Sequence[float]:
    """Its speaker is named in the question, and not every speaker is."""
    named = found.question.named
    if all(speaker is None or speaker in named for speaker in found.speakers):
        return []
    return [1.0 if speaker in named else 0.0 for speaker in found.speakers]


def periods(found: Candidates) -> Sequence[float]:
    """It happened in a time that the question names, and not everything did."""
    times = found.question.periods
    if not times:
        return []
    lifts = [1.0 if any(since <= time < until for since, until in times) else 0.0 for time in found.times]
    return lifts if 0.0 in lifts else []


def importance(found: Candidates) -> Sequence[float]:
    """How important it was said to be, -1 to 1; 0 where nothing was said."""
    if all(importance == DEFAULT_IMPORTANCE for importance in found.importances):
        return []
    return [2 * importance - 1 for importance in found.importances]


def recency(found: Candidates) -> Sequence[float]:
    """How new it is, 1 to 0, halved in its type's half-life; what lies in the future counts as of today.

    Counted from the beginning of the day (UTC), so that the same question has the same answer all day.
    """
    today = found.question.now - found.question.now % _DAY
    return [
        0.5 ** ((today - time) / HALF_LIVES[type_]) if time < today else 1.0
        for time, type_ in zip(found.times, found.types, strict=True)
    ]
