"""Searching the arms for the candidates of a question, until there are enough that the records confirm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple
from uuid import UUID

from soma_core.domain.candidates import Features
from soma_core.domain.errors import SomaError, Unavailable
from soma_core.domain.query import Filter
from soma_core.domain.scoring import TIES, leading, settled
from soma_core.ports.index import IndexQuery, Match, Matches, VectorIndex
from soma_core.ports.records import RecordStore
from soma_core.services.meanwhile import Meanwhile
from soma_core.services.progress import IndexState, Pending

CANDIDATES = 100
"""Distinct memories wanted from each arm."""
REFILLS = 3
NOTHING = Matches((), ())
NOTHING_WAITS = Pending((), 0, 0, 0)


@dataclass(slots=True)
class Gathered:
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
    waiting: Pending = NOTHING_WAITS
    """What was not in the index yet when it was searched."""

    def settle(self, limit: int) -> None:
        """Leave out those that got in by chance, `limit` being the passages that each arm was asked for."""
        if len(self.matches.dense) >= limit:
            self.dense = settled(self.dense, self.matches.dense[-1].score)
        if len(self.matches.lexical) >= limit:
            self.lexical = settled(self.lexical, self.matches.lexical[-1].score)
        if len(self.matches.learned) >= limit:
            self.learned = settled(self.learned, self.matches.learned[-1].score)


class Begun(NamedTuple):
    """What a question's words found while it was embedded."""

    waiting: Pending
    """As it was before the search."""
    limit: int
    lexical: Sequence[Match]
    features: Mapping[int, Features]
    """Of the leading ones."""


class Searching:
    """Searches the index, and lets the records say what of it counts."""

    def __init__(
        self,
        records: RecordStore,
        index: VectorIndex,
        indexing: IndexState,
        foresee: Callable[[str, Sequence[Match]], None],
    ) -> None:
        """`foresee` is told which live passages a question's words found, while there is time."""
        self._records = records
        self._index = index
        self._indexing = indexing
        self._foresee = foresee
        self._meanwhile = Meanwhile()
        self._refills: dict[str, int] = {}
        """How often a namespace was refilled last: where texts are long, the next question begins there."""

    def begin(self, namespace: str, words: str, wanted: Filter) -> Callable[[], Begun | None]:
        """Search by words in another thread, while this one embeds the question; for `gather`, once that is done.

        Embedding leaves the interpreter to others, and takes longer than all of this.
        """
        return partial(_begun, self._meanwhile.begin(partial(self._by_words, namespace, words, wanted)))

    def _by_words(self, namespace: str, words: str, wanted: Filter) -> Begun | None:
        waiting = self._indexing.pending(namespace)
        if not self._indexing.usable(namespace):
            return None
        limit = _limit(CANDIDATES, self._refills.get(namespace, 0))
        found = self._index.search(namespace, IndexQuery(words, None, limit, wanted)).lexical
        features = self._records.features(namespace, _leading(found, CANDIDATES).keys())
        live = {memory: seen.version for memory, seen in features.items()}
        self._foresee(namespace, [match for match in found if live.get(match.memory) == match.version])
        return Begun(waiting, limit, found, features)

    def gather(self, namespace: str, query: IndexQuery, degraded: list[str], begun: Begun | None = None) -> Gathered:
        """Search until each arm has `query.limit` distinct memories that the records confirm, or has no more."""
        waiting = begun.waiting if begun else self._indexing.pending(namespace)
        gathered = self._gathered(namespace, query, degraded, begun)
        changed = self._indexing.epoch(namespace) != waiting.epoch
        gathered.waiting = self._indexing.pending(namespace) if changed else waiting
        return gathered

    def _gathered(self, namespace: str, query: IndexQuery, degraded: list[str], begun: Begun | None) -> Gathered:
        if not self._indexing.usable(namespace):
            degraded.append("index: the disk is below its reserve, only the newest memories are searched, by words")
            return Gathered()
        for attempt in range(self._refills.get(namespace, 0), REFILLS + 1):
            limit = _limit(query.limit, attempt)
            try:
                matches = self._search(namespace, replace(query, limit=limit), begun)
            except Unavailable as error:
                degraded.append(f"index: {error.message}")
                return Gathered()
            gathered = self._confirmed(namespace, matches, query.limit, begun.features if begun else {})
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

    def _search(self, namespace: str, query: IndexQuery, begun: Begun | None) -> Matches:
        if not begun or begun.limit != query.limit:
            return self._index.search(namespace, query)
        return replace(self._index.search(namespace, replace(query, words="")), lexical=begun.lexical)

    def _confirmed(self, namespace: str, matches: Matches, most: int, known: Mapping[int, Features]) -> Gathered:
        """Drop what the records say is forgotten or no longer the current version; keep the leading memories."""
        every = (matches.dense, matches.lexical, matches.learned)
        dense, lexical, learned = (_leading(found, most) for found in every)
        looked_at = {*dense, *lexical, *learned}
        live = self._features(namespace, looked_at, known)
        versions = {memory: seen.version for memory, seen in live.items()}
        if len(live) == len(looked_at) and all(versions.get(m, v) == v for found in every for m, v, _, _ in found):
            return Gathered(dense, lexical, learned, live, matches)

        def current(found: Sequence[Match]) -> dict[int, float]:
            return leading([(m, score) for m, version, _, score in found if versions.get(m) == version], most)

        dense, lexical, learned = map(current, every)
        short = [found for found, kept in zip(every, (dense, lexical, learned), strict=True) if len(kept) < most]
        if rest := {match.memory for found in short for match in found} - looked_at:
            live = {**live, **self._records.features(namespace, rest)}
            versions |= {memory: live[memory].version for memory in rest if memory in live}
            dense, lexical, learned = map(current, every)
        moved = {m for found in every for m, version, _, _ in found if versions.get(m, 0) > version}
        return Gathered(dense, lexical, learned, live, matches, [UUID(int=key) for key in moved])

    def _features(
        self, namespace: str, memories: Collection[int], known: Mapping[int, Features]
    ) -> dict[int, Features]:
        found = {memory: known[memory] for memory in memories if memory in known}
        if rest := [memory for memory in memories if memory not in found]:
            found.update(self._records.features(namespace, rest))
        return found


def _begun(future: Future[Begun | None] | None) -> Begun | None:
    try:
        return future.result() if future else None
    except SomaError:  # the whole search will meet it, too, and say so
        return None


def _limit(wanted: int, refills: int) -> int:
    """How many passages an arm is asked for."""
    return (wanted << refills) + TIES


def _leading(found: Sequence[Match], most: int) -> dict[int, float]:
    return leading([(memory, score) for memory, _, _, score in found], most)


def _distinct(found: Sequence[Match]) -> int:
    return len({match.memory for match in found})
