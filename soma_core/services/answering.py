"""From ranked candidates to an answer: what is new to the caller, once, within the budget."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from uuid import UUID

from soma_core.domain.excerpts import excerpt
from soma_core.domain.folding import Fold, choose
from soma_core.domain.memory import Memory
from soma_core.domain.packing import answered
from soma_core.domain.passages import is_long, passage_spans, spoken
from soma_core.domain.query import Alike, Hit, Recall, RecallQuery
from soma_core.domain.relevance import LOOKED_AT, Relevance, relevance
from soma_core.domain.scoring import Score
from soma_core.ports.index import Match, Matches, VectorIndex
from soma_core.services.caching import Bodies

REMEMBERED = 2_000
"""Passages of which it is remembered where they are: numbers alone, no text."""
FORESEEN = 12
"""Of so many memories that one arm found best the passages are looked for before it is known what is shown."""


@dataclass(frozen=True)
class Ranked:
    """The candidates of a question, ranked."""

    words: str
    """What of the question was searched for."""
    best: Sequence[int]
    """Their ids in order of rank."""
    scores: Mapping[int, Score]
    versions: Mapping[int, int]
    """At which version each of them was confirmed by the records."""
    matches: Matches
    """The passages that were found; not all of them stand for live memories."""
    cosine: float | None
    """The best of the live ones'."""
    degraded: Sequence[str]
    chosen: set[int] = field(default_factory=set)
    """The ids of those that are shown."""
    passages: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    """Where the passages are that matched, as far as they were looked up."""

    @cached_property
    def found(self) -> Mapping[tuple[int, int], Mapping[int, float]]:
        """See `passage_scores`."""
        return passage_scores(self.matches, self.chosen)


class Answering:
    """Reads what was ranked best and makes it fit for a model."""

    def __init__(self, bodies: Bodies, index: VectorIndex, model_id: str) -> None:
        self._bodies = bodies
        self._index = index
        self._model_id = model_id
        self._spans: dict[tuple[str, int, int, int, int], tuple[int, int]] = {}

    def answer(self, namespace: str, query: RecallQuery, ranked: Ranked) -> Recall:
        """The best of the candidates, as many as are wanted and fit."""
        seen = query.seen
        chosen = choose(self._read(namespace, ranked, query.limit), query.limit, seen, query.fold)
        hits = [_hit(fold, ranked.scores) for fold in chosen.folds]
        ranked.chosen.update(hit.memory.id.int for hit in hits)
        about = self._relevance(ranked, hits[:LOOKED_AT])
        found = Recall(hits, ranked.degraded, 0, 0, relevance=about, seen=chosen.seen)
        return answered(found, partial(self._part, ranked), seen, query)

    def foresee(self, namespace: str, found: Sequence[Match]) -> None:
        """Look up where the passages are that an arm found, the best first: in long texts that takes a while."""
        best: dict[int, Match] = {}
        for match in found:
            if len(best) == FORESEEN:
                break
            best.setdefault(match.memory, match)
        wanted = {UUID(int=match.memory): match.version for match in best.values() if match.passage}
        for memory in self._bodies.read(namespace, wanted).values() if wanted else ():
            self._span(memory, best[memory.id.int].passage)

    def _read(self, namespace: str, ranked: Ranked, at_once: int) -> Iterator[Memory]:
        """The memories in order of rank, a few at a time."""
        for start in range(0, len(ranked.best), at_once):
            wanted = {UUID(int=key): ranked.versions[key] for key in ranked.best[start : start + at_once]}
            memories = self._bodies.read(namespace, wanted)
            yield from (memories[key] for key in wanted if key in memories)

    def _relevance(self, ranked: Ranked, best: Sequence[Hit]) -> Relevance:
        def share() -> float:
            memories = [hit.memory for hit in best]
            texts = [spoken(memory.text[slice(*self._passage(ranked, memory))], memory.speaker) for memory in memories]
            return max(self._index.overlap(ranked.words, texts), default=0.0)

        return relevance(self._model_id, ranked.cosine, share, complete=not ranked.degraded)

    def _part(self, ranked: Ranked, hit: Hit, room: int) -> str:
        """What of a hit's text matched the question."""
        overlap = partial(self._index.overlap, ranked.words)
        return excerpt(hit.memory.text, self._passage(ranked, hit.memory), overlap, room)

    def _passage(self, ranked: Ranked, memory: Memory) -> tuple[int, int]:
        """Where the passage begins and ends that the question found, or that holds most of its words."""
        if memory.id not in ranked.passages:
            scores = ranked.found.get((memory.id.int, memory.version), {}) if is_long(memory.text) else {0: 1.0}
            number = max(scores, key=lambda number: (scores[number], -number), default=None)
            span = self._span(memory, number) if number is not None else None
            ranked.passages[memory.id] = span or self._nearest_passage(ranked.words, memory.text)
        return ranked.passages[memory.id]

    def _span(self, memory: Memory, number: int) -> tuple[int, int] | None:
        """Where a passage is; remembered, for a version never changes, unless a backup is put back."""
        key = memory.namespace, memory.id.int, memory.version, len(memory.text), number
        if (span := self._spans.get(key)) is None:
            span = next(islice(passage_spans(memory.text), number, None), None)
            if span:
                if len(self._spans) >= REMEMBERED:
                    self._spans.clear()
                self._spans[key] = span
        return span

    def _nearest_passage(self, words: str, text: str) -> tuple[int, int]:
        """Where the first of the passages is that hold most of the words."""
        spans = list(passage_spans(text))
        shares = self._index.overlap(words, [text[start:end] for start, end in spans])
        return max(zip(spans, shares, strict=True), key=lambda each: each[1])[0]


def passage_scores(matches: Matches, memories: Collection[int]) -> dict[tuple[int, int], dict[int, float]]:
    """By memory and version, how good the arms together found each passage: shares of the range of each arm."""
    found: dict[tuple[int, int], dict[int, float]] = {}
    for arm in (matches.dense, matches.lexical, matches.learned):
        low, width = (arm[-1].score, arm[0].score - arm[-1].score) if arm else (0.0, 0.0)
        for memory, version, passage, score in arm:
            if memory not in memories:
                continue
            scores = found.setdefault((memory, version), {})
            scores[passage] = scores.get(passage, 0.0) + ((score - low) / width if width else 1.0)
    return found


def _hit(fold: Fold, scores: Mapping[int, Score]) -> Hit:
    alike = tuple(Alike(each.id, each.version, each.occurred_at) for each in fold.alike)
    return Hit(fold.memory, scores[fold.memory.id.int].parts, alike=alike)
