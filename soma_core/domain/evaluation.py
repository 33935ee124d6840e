"""What came of the questions of a recall set, and the figures over them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from soma_core.domain.measures import DEEPEST, MEASURES, Figure, Paired, compare, estimate, recall_at

DEFAULT_ANSWER = "answer"
"""The name of the share of what is relevant that the default answer holds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A question and what it brought back; memories by their refs."""

    conversation: str
    number: int
    """Place among the conversation's questions, from 0."""
    query: str
    category: str
    relevant: tuple[str, ...]
    ranking: tuple[str, ...]
    """The best first, however long their texts are."""
    answer: tuple[str, ...]
    """What a caller gets who asks for no more than the question: packed into the default token budget."""
    tokens: int
    """Of that answer."""
    omitted: int
    """How many of the ranking's best were left out of that answer for its budget."""
    degraded: tuple[str, ...]
    seconds: float
    """Until that answer."""
    embed_seconds: float
    search_seconds: float

    @property
    def ranking_seconds(self) -> float:
        """All but embedding the question and searching the index."""
        return self.seconds - self.embed_seconds - self.search_seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """The measures of a group of questions."""

    n: int
    measures: Mapping[str, Figure]


Scored = Callable[[Outcome], float]


def _scored(measure: Callable[[Sequence[str], Collection[str]], float], outcome: Outcome) -> float:
    return measure(outcome.ranking, outcome.relevant)


def _answered(outcome: Outcome) -> float:
    return recall_at(DEEPEST, outcome.answer, outcome.relevant)


SCORES: Mapping[str, Scored] = {
    **{name: partial(_scored, measure) for name, measure in MEASURES.items()},
    DEFAULT_ANSWER: _answered,
}


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a set, pooled and in groups."""

    pooled: Figures
    kept: Figures | None
    """Pooled over the categories that were not left out; None where none was."""
    mean_of_categories: Figures
    """`n` counts categories."""
    categories: Mapping[str, Figures]


def summarise(outcomes: Sequence[Outcome], left_out: Collection[str] = ()) -> Summary:
    """The figures over outcomes (at least one, and at least one that is not left out)."""
    groups = by_category(outcomes)
    kept = [outcome for outcome in outcomes if outcome.category not in left_out]
    return Summary(
        pooled=_figures(outcomes),
        kept=_figures(kept) if left_out else None,
        mean_of_categories=Figures(len(groups), _estimates(*groups.values())),
        categories={category: _figures(group) for category, group in groups.items()},
    )


def by_category(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes in groups, in the order of the alphabet."""
    names = sorted({outcome.category for outcome in outcomes})
    return {name: [outcome for outcome in outcomes if outcome.category == name] for name in names}


def _figures(outcomes: Sequence[Outcome]) -> Figures:
    return Figures(len(outcomes), _estimates(outcomes))


def _estimates(*groups: Sequence[Outcome]) -> dict[str, Figure]:
    return {name: estimate(*(list(map(score, group)) for group in groups)) for name, score in SCORES.items()}


def changes(before: Sequence[Outcome], after: Sequence[Outcome], names: Collection[str]) -> dict[str, Paired]:
    """What moved between two runs over the same questions, by measure."""
    return {name: compare([*map(SCORES[name], before)], [*map(SCORES[name], after)]) for name in names}
