"""Answering a question from memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

from soma_core.domain.asking import Question, in_first_person
from soma_core.domain.candidates import Features, features_of
from soma_core.domain.errors import Retryable
from soma_core.domain.memory import Memory
from soma_core.domain.passages import spoken
from soma_core.domain.query import QUERY_WORDS, Filter, Recall, RecallQuery, contains
from soma_core.domain.scoring import SCALE, VOICE, Score, ranked, scored, spread
from soma_core.ports.clock import Clock
from soma_core.ports.embedder import Embedder, Vector
from soma_core.ports.index import IndexQuery, VectorIndex
from soma_core.ports.records import RecordStore
from soma_core.ports.reranker import Reranker
from soma_core.services.answering import Answering, Ranked
from soma_core.services.caching import Bodies
from soma_core.services.learned import Learned
from soma_core.services.progress import IndexState
from soma_core.services.questions import anchored, asked
from soma_core.services.rerank import Reranking
from soma_core.services.searching import CANDIDATES, Begun, Gathered, Searching

log = logging.getLogger(__name__)

WIDER = 8
MOST_CANDIDATES = CANDIDATES * WIDER * WIDER
"""What is looked through for the fields of a payload, which the index does not know."""


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
        self._clock = clock
        self._learned = learned
        self._answering = Answering(bodies, index, embedder.model_id)
        self._reranking = Reranking(records, reranker) if reranker else None
        self._searching = Searching(records, index, indexing, self._answering.foresee)

    def recall(self, namespace: str, query: RecallQuery) -> Recall:
        """The best memories for a question. Never raises for a missing part: `degraded` names it."""
        said: list[str] = []
        words = _first_words(query.text, said)
        question = asked(self._records, namespace, words, self._clock())
        voiced = words if VOICE in query.without else in_first_person(words, question.named)
        beginning = self._searching.begin(namespace, words, query.filter) if self._embedder.ready else None
        vector, learned = self._query_vector(voiced, said), self._learned.of_question(voiced, said)
        begun = beginning() if beginning else None
        wanted = CANDIDATES
        while True:
            degraded = list(said)
            search = IndexQuery(words, vector, wanted, query.filter, learned)
            scores, gathered = self._scored(namespace, query, question, search, degraded, begun)
            if not query.payload or len(scores) >= query.limit or not gathered.may_be_more:
                break
            if wanted >= MOST_CANDIDATES:
                degraded.append(f"filters: the payloads of only {wanted} candidates of each arm were looked at")
                break
            wanted, begun = wanted * WIDER, None
        best = ranked(scores, gathered.features, len(scores))
        if self._reranking:
            best, scores = self._reranking.reranked(namespace, words, best, scores, degraded)
        cosine = max(gathered.dense.values(), default=None)
        versions = {key: gathered.features[key].version for key in best}
        found = Ranked(words, best, scores, versions, gathered.matches, cosine, degraded)
        return self._answering.answer(namespace, query, found)

    def _scored(
        self,
        namespace: str,
        query: RecallQuery,
        question: Question,
        search: IndexQuery,
        degraded: list[str],
        begun: Begun | None,
    ) -> tuple[dict[int, Score], Gathered]:
        """The candidates with their scores, and what the arms gave, with the features of all."""
        gathered = self._searching.gather(namespace, search, degraded, begun)
        waiting = gathered.waiting
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
        found = self._searching.gather(namespace, IndexQuery(text, vector, CANDIDATES), [])
        best = [UUID(int=key) for key in sorted(found.dense, key=lambda key: -found.dense[key])[:limit]]
        by_words = [UUID(int=key) for key in sorted(found.lexical, key=lambda key: -found.lexical[key])[:limit]]
        memories = self._records.read(namespace, list(dict.fromkeys([*best, *by_words, *found.waiting.ids])))
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
