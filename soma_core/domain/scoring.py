"""How candidates become a ranked answer: pure functions.

Each arm's list is scaled to 0..3 and the two are added half and half; measured better than fusion by rank. Then every
step of `STEPS` adds its part, weighed here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar
from uuid import UUID

from soma_core.domain import boosts, structure
from soma_core.domain.asking import Question
from soma_core.domain.candidates import Candidates, Features
from soma_core.domain.query import Parts

K = TypeVar("K", int, UUID)
"""A memory's id, also as a number: that is quicker to look up."""

SCALE = 3.0
DENSE_WEIGHT = 0.5
LEXICAL_WEIGHT = 0.5
LEARNED_WEIGHT = 0.1
"""Of an arm that is off by default: no weight paid for itself on both sets, and this one costs least."""
TIES = 16
"""Looked for beyond the candidates: so many equal scores at their end are all seen."""


def settled(scores: Mapping[K, float], last: float) -> dict[K, float]:
    """An arm without those that got in by chance: where its list was cut off, an index takes any of equal scores.

    `last` is the score at which it was. Where most of the arm has that score, none is left out.
    """
    found = {key: score for key, score in scores.items() if score > last}
    return found if 2 * len(found) >= len(scores) else dict(scores)


def leading(matches: Iterable[tuple[K, float]], most: int) -> dict[K, float]:
    """The first `most` memories of an arm, and those that score like the last of them.

    Passages are given best first; a memory scores as its best one.
    """
    found: dict[K, float] = {}
    last = 0.0
    for memory, score in matches:
        if memory not in found:
            if len(found) >= most and score < last:
                break
            found[memory] = last = score
    return found


def spread(scores: Mapping[K, float]) -> dict[K, float]:
    """Scale an arm's scores to 0..3 (min-max); where all are equal, all get 3."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, SCALE)
    return {key: SCALE * (score - low) / (high - low) for key, score in scores.items()}


class Step(NamedTuple):
    """A step of the ranking: what it gives each candidate is weighed and added to one part of the score.

    A step that has nothing to say about any of them gives an empty list.
    """

    name: str
    part: Literal["structure", "boosts", "importance", "recency"]
    weight: float
    gives: Callable[[Candidates], Sequence[float]]


_STEPS = (
    Step("answers", "structure", 0.5, structure.answers),
    Step("questions", "structure", 0.5, structure.questions),
    Step("threads", "structure", 0.3, structure.threads),
    Step("substance", "structure", 0.3, structure.substance),
    Step("assistants", "structure", 1.5, structure.assistants),
    Step("neighbours", "structure", 0.15, structure.neighbours),
    Step("standing", "structure", 1.0, structure.standing),
    Step("speakers", "boosts", 0.6, boosts.speakers),
    Step("periods", "boosts", 0.8, boosts.periods),
    Step("importance", "importance", 0.3, boosts.importance),
    Step("recency", "recency", 0.15, boosts.recency),
)
VOICE = "voice"
"""The step before the search: what a question asks of a speaker it names is searched for in the first person."""
STEPS = (VOICE, *(step.name for step in _STEPS))
"""The names of all steps, for `RecallQuery.without`."""


class Score(NamedTuple):
    """A score taken apart, as `Parts`: there are hundreds of these in a recall, and tuples are quicker to make."""

    total: float
    dense: float
    lexical: float
    structure: float
    boosts: float
    importance: float
    recency: float

    @property
    def parts(self) -> Parts:
        return Parts(**self._asdict())

    def boosted(self, boost: float) -> Score:
        """With something added."""
        return self._replace(total=self.total + boost, boosts=self.boosts + boost)


def scored(
    question: Question,
    dense: Mapping[int, float],
    lexical: Mapping[int, float],
    features: Mapping[int, Features],
    without: Collection[str] = (),
    learned: Mapping[int, float] | None = None,
) -> dict[int, Score]:
    """The scores of all candidates; those of the arms are given scaled (see `spread`).

    A memory that is missing from an arm gets 0 there; one without features is no candidate. What the learned arm gives
    counts among the words.
    """
    learned = learned or {}
    keys = [key for key in {**dense, **lexical, **learned} if key in features]
    by_meaning = [DENSE_WEIGHT * dense.get(key, 0.0) for key in keys]
    by_words = [LEXICAL_WEIGHT * lexical.get(key, 0.0) for key in keys]
    if learned:
        by_words = [x + LEARNED_WEIGHT * learned.get(key, 0.0) for x, key in zip(by_words, keys, strict=True)]
    fused = [a + b for a, b in zip(by_meaning, by_words, strict=True)]
    found = Candidates(question, [features[key] for key in keys], fused)
    added = {part: [0.0] * len(keys) for part in ("structure", "boosts", "importance", "recency")}
    for step in _STEPS:
        if step.name not in without and (given := step.gives(found)):
            weight, sums = step.weight, added[step.part]
            added[step.part] = [sum_ + weight * each for sum_, each in zip(sums, given, strict=True)]
    total = [a + b + c + d + e for a, b, c, d, e in zip(fused, *added.values(), strict=True)]
    rows = zip(total, by_meaning, by_words, *added.values(), strict=True)
    return {key: tuple.__new__(Score, row) for key, row in zip(keys, rows, strict=True)}


def ranked(scores: Mapping[int, Score], features: Mapping[int, Features], limit: int) -> list[int]:
    """The best `limit` memories; equal scores by time, the newest first, then by id, likewise."""
    order = [(score.total, features[key].occurred_at, key) for key, score in scores.items()]
    return [key for _, _, key in sorted(order, reverse=True)[:limit]]
