"""Answering a question from memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from soma_core.domain.asking import Question, in_first_person
from soma_core.domain.candidates import Features, features_of
from soma_core.domain.errors import Retryable, Unavailable
from soma_core.domain.memory import Memory
from soma_core.domain.passages import spoken
from soma_core.domain.query import QUERY_WORDS, Filter, Recall, RecallQuery, contains
from soma_core.domain.scoring import SCALE, TIES, VOICE, Score, leading, ranked, scored, settled, spread
from soma_core.ports.clock import Clock
from soma_core.ports.embedder import Embedder, Vector
from soma_core.ports.index import IndexQuery, Match, Matches, VectorIndex
from soma_core.ports.records import RecordStore
from soma_core.ports.reranker import Reranker
from soma_core.services.answering import Answering, Ranked
from soma_core.services.caching import Bodies
from soma_core.services.learned import Learned
from soma_core.services.progress import IndexState
from soma_core.services.questions import anchored, asked
from soma_core.services.rerank import Reranking

log = logging.getLogger(__name__)

CANDIDATES = 100
"""Distinct memories wanted from each arm."""
REFILLS = 3
WIDER = 8
NOTHING = Matches((), ())
MOST_CANDIDATES = CANDIDATES * WIDER * WIDER
"""What is looked through for the fields of a payload, which the index does not know."""


@dataclass(slots=True)
class _Gathered:
    """The candidates of the arms that the records confirm, by memory, with each arm's own score."""

    dense: Mapping[int, float] = field(default_factory=dict)
    lexical: Mapping[int, float] = field(default_factory=dict)
    learned: Mapping[int, float] = field(default_factory=dict)
    features: Mapping[int, Features] = field(default_factory=dict)
    matches: Matches = NOTHING
    """What the arms gave, with the passages and each arm's own scores."""
    moved: Sequence[UUID] = ()
    """Live memories of which an older version was found: their present one came after the search."""

    may_be_more: bool = False
    """Whether an arm gave as many passages as it was asked for."""

    def settle(self, limit: int) -> None:
        """Leave out those that got in by chance, `limit` being the passages that each arm was asked for."""
        if len(self.matches.dense) >= limit:
            self.dense = settled(self.dense, self.matches.dense[-1].score)
        if len(self.matches.lexical) >= limit:
            self.lexical = settled(self.lexical, self.matches.lexical[-1].score)
        if len(self.matches.learned) >= limit:
            self.learned = settled(self.learned, self.matches.learned[-1].score)


class Recalling:
    """Searches the arms, adds what the index does not have yet, and lets the records decide."""

    def __init__(
        self,
        records: RecordStore,
        index: VectorIndex,
        embedder: Embedder,
        indexing: IndexState,
        clock: Clock,
        learned: Learned,
        bodies: Bodies,
        reranker: Reranker | None = None,
    ) -> None:
        self._records = records
        self._index = index
        self._embedder = embedder
        self._indexing = indexing
        self._clock = clock
        self._learned = learned
        self._answering = Answering(bodies, index, embedder.model_id)
        self._reranking = Reranking(records, reranker) if reranker else None
        self._refills: dict[str, int] = {}
        """How often a namespace was refilled last: where texts are long, the next question begins there."""

    def recall(self, namespace: str, query: RecallQuery) -> Recall:
        """The best memories for a question. Never raises for a missing part: `degraded` names it."""
        said: list[str] = []
        words = _first_words(query.text, said)
        question = asked(self._records, namespace, words, self._clock())
        voiced = words if VOICE in query.without else in_first_person(words, question.named)
        vector, learned = self._query_vector(voiced, said), self._learned.of_question(voiced, said)
        wanted = CANDIDATES
        while True:
            degraded = list(said)
            search = IndexQuery(words, vector, wanted, query.filter, learned)
            scores, gathered = self._scored(namespace, query, question, search, degraded)
            if not query.payload or len(scores) >= query.limit or not gathered.may_be_more:
                break
            if wanted >= MOST_CANDIDATES:
                degraded.append(f"filters: the payloads of only {wanted} candidates of each arm were looked at")
                break
            wanted *= WIDER
        best = ranked(scores, gathered.features, len(scores))
        if self._reranking:
            best, scores = self._reranking.reranked(namespace, words, best, scores, degraded)
        cosine = max(gathered.dense.values(), default=None)
        versions = {key: gathered.features[key].version for key in best}
        found = Ranked(words, best, scores, versions, gathered.matches, cosine, degraded)
        return self._answering.answer(namespace, query, found)

    def _scored(
        self, namespace: str, query: RecallQuery, question: Question, search: IndexQuery, degraded: list[str]
    ) -> tuple[dict[int, Score], _Gathered]:
        """The candidates with their scores, and what the arms gave, with the features of all."""
        waiting = self._indexing.pending(namespace)
        gathered = self._gather(namespace, search, degraded)
        if self._indexing.epoch(namespace) != waiting.epoch:
            waiting = self._indexing.pending(namespace)
        fresh = list(dict.fromkeys([*waiting.ids, *gathered.moved]))
        dense_only = search.vector is not None and not query.hybrid
        by_words, learned = ({}, {}) if dense_only else (spread(gathered.lexical), spread(gathered.learned))
        overlaps, new = self._overlaps(namespace, search.words, fresh, query.filter)
        lexical = {**by_words, **overlaps}
        gathered.features = {**gathered.features, **new}
        if waiting.unlisted:
            degraded.append(f"words: {waiting.unlisted} memories are not searchable yet")
        if search.vector is not None and waiting.unembedded:
            how = "not found by meaning yet" if dense_only else "found by their words only so far"
            degraded.append(f"vectors: {waiting.unembedded} memories are {how}")
        dense = spread(gathered.dense)
        if dense:  # what waits has no vector: its words stand for its meaning, or all that resembles it would pass it
            dense = {**dense, **overlaps}
        question = anchored(self._records, self._index, namespace, question, dense, lexical)
        scores = scored(question, dense, lexical, gathered.features, query.without, learned)
        if query.looks_at_texts:
            scores = self._looked_at(namespace, query, scores)
        return scores, gathered

    def nearest(
        self, namespace: str, text: str, speaker: str | None, limit: int
    ) -> tuple[list[tuple[Memory, float]], list[Memory]]:
        """The memories nearest in meaning with their cosine, and those nearest by words or too new for either.

        Raises `ModelMissing`, `Unavailable`.
        """
        vector = self._embedder.embed_passages([spoken(text, speaker)])[0]
        waiting = self._indexing.pending(namespace).ids
        found = self._gather(namespace, IndexQuery(text, vector, CANDIDATES), [])
        best = [UUID(int=key) for key in sorted(found.dense, key=lambda key: -found.dense[key])[:limit]]
        by_words = [UUID(int=key) for key in sorted(found.lexical, key=lambda key: -found.lexical[key])[:limit]]
        memories = self._records.read(namespace, list(dict.fromkeys([*best, *by_words, *waiting])))
        return [(memories[key], found.dense[key.int]) for key in best if key in memories], list(memories.values())

    def _query_vector(self, words: str, degraded: list[str]) -> Vector | None:
        if self._embedder.ready:
            try:
                return self._embedder.embed_query(words)
            except Retryable as error:
                degraded.append(f"dense: {error.message}, the answer is by words only")
                return None
            except Exception:
                log.exception("embedding a question failed")
                degraded.append("dense: the question could not be embedded, the answer is by words only")
                return None
        degraded.append("dense: the embedding model is not loaded, the answer is by words only")
        return None

    def _gather(self, namespace: str, query: IndexQuery, degraded: list[str]) -> _Gathered:
        """Search until each arm has `query.limit` distinct memories that the records confirm, or has no more."""
        if not self._indexing.usable(namespace):
            degraded.append("index: the disk is below its reserve, only the newest memories are searched, by words")
            return _Gathered()
        for attempt in range(self._refills.get(namespace, 0), REFILLS + 1):
            limit = (query.limit << attempt) + TIES
            try:
                matches = self._index.search(namespace, replace(query, limit=limit))
            except Unavailable as error:
                degraded.append(f"index: {error.message}")
                return _Gathered()
            gathered = self._confirmed(namespace, matches, query.limit)
            arms = [(matches.dense, gathered.dense), (matches.lexical, gathered.lexical)]
            arms += [(matches.learned, gathered.learned)] if query.learned else []
            gathered.may_be_more = any(len(found) >= limit for found, _ in arms)
            if all(len(found) < limit or len(distinct) >= query.limit for found, distinct in arms):
                if attempt and all(_distinct(found[: limit // 2]) >= query.limit for found, _ in arms):
                    attempt -= 1
                self._refills[namespace] = attempt
                gathered.settle(limit)
                return gathered
        degraded.append(f"candidates: fewer than {query.limit} distinct memories were looked at")
        return gathered

    def _confirmed(self, namespace: str, matches: Matches, most: int) -> _Gathered:
        """Drop what the records say is forgotten or no longer the current version; keep the leading memories."""
        every = (matches.dense, matches.lexical, matches.learned)
        first = [leading([(m, score) for m, _, _, score in found], most) for found in every]
        looked_at = {memory for found in first for memory in found}
        live = self._records.features(namespace, looked_at)
        versions = {memory: seen.version for memory, seen in live.items()}
        if len(live) == len(looked_at) and all(versions.get(m, v) == v for found in every for m, v, _, _ in found):
            return _Gathered(*first, live, matches)

        def current(found: Sequence[Match]) -> dict[int, float]:
            return leading([(m, score) for m, version, _, score in found if versions.get(m) == version], most)

        dense, lexical, learned = map(current, every)
        short = [found for found, kept in zip(every, (dense, lexical, learned), strict=True) if len(kept) < most]
        if rest := {match.memory for found in short for match in found} - looked_at:
            live = {**live, **self._records.features(namespace, rest)}
            versions |= {memory: live[memory].version for memory in rest if memory in live}
            dense, lexical, learned = map(current, every)
        moved = {m for found in every for m, version, _, _ in found if versions.get(m, 0) > version}
        return _Gathered(dense, lexical, learned, live, matches, [UUID(int=key) for key in moved])

    def _overlaps(
        self, namespace: str, words: str, ids: Sequence[UUID], wanted: Filter
    ) -> tuple[dict[int, float], dict[int, Features]]:
        """Score what waits for the index by how much of the question's words it holds, on the scale of an arm."""
        if not ids:
            return {}, {}
        memories = [memory for memory in self._records.read(namespace, ids).values() if _fits(memory, wanted)]
        shares = self._index.overlap(words, [memory.text for memory in memories])
        found = {memory.id.int: SCALE * share for memory, share in zip(memories, shares, strict=True) if share > 0}
        return found, {memory.id.int: features_of(memory) for memory in memories if memory.id.int in found}

    def _looked_at(self, namespace: str, query: RecallQuery, scores: Mapping[int, Score]) -> dict[int, Score]:
        """The candidates whose payload fits, those that hold the terms lifted."""
        memories = self._records.read(namespace, [UUID(int=key) for key in scores])
        kept = {key.int: memory for key, memory in memories.items() if contains(memory.payload, query.payload)}
        if (terms := query.terms) is None:
            return {key: scores[key] for key in kept}
        return {key: scores[key].boosted(terms.boost * terms.share(memory.text)) for key, memory in kept.items()}


def _distinct(found: Sequence[Match]) -> int:
    return len({match.memory for match in found})


def _first_words(text: str, degraded: list[str]) -> str:
    words = text.split()
    if len(words) <= QUERY_WORDS:
        return text
    degraded.append(f"query: only its first {QUERY_WORDS} words were used")
    return " ".join(words[:QUERY_WORDS])


def _fits(memory: Memory, wanted: Filter) -> bool:
    """Whether a memory matches the filter, as the index would decide."""
    return (
        (not wanted.types or memory.type in wanted.types)
        and set(wanted.tags) <= set(memory.tags)
        and wanted.thread in (None, memory.thread)
        and wanted.speaker in (None, memory.speaker)
        and (wanted.since is None or memory.occurred_at >= wanted.since)
        and (wanted.until is None or memory.occurred_at < wanted.until)
    )
