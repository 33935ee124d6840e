"""Asking a whole recall set: every conversation in a namespace of its own, every question as a caller would ask it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from soma_core.domain.errors import Unavailable
from soma_core.domain.evaluation import Outcome
from soma_core.domain.measures import DEEPEST
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import Recall, RecallQuery
from soma_core.domain.recall_set import Conversation, Question, RecallSet
from soma_core.domain.receipts import StoreReceipt
from soma_core.services.timing import Stopwatch

BATCH = 500
"""Memories stored in one commit."""
UNBOUNDED = 1 << 24
"""A token budget that the deepest ranking never fills."""

Progress = Callable[[int, int], None]


class Standing(Protocol):
    """What an evaluation needs of a status."""

    @property
    def pending_words(self) -> int: ...

    @property
    def pending_vectors(self) -> int: ...

    @property
    def health(self) -> list[str]: ...


class Engine(Protocol):
    """What an evaluation needs of an engine; the methods of `Soma`."""

    def store_many(self, scope: Scope, memories: Sequence[NewMemory]) -> list[StoreReceipt]: ...

    def index(self, scope: Scope, progress: Progress | None = None) -> int: ...

    def status(self, scope: Scope) -> Standing: ...

    def recall(self, scope: Scope, query: RecallQuery) -> Recall: ...


@dataclass(slots=True)
class Evaluated:
    """What came of a set: an outcome a question, in the order of the set."""

    outcomes: list[Outcome] = field(default_factory=list)
    ablated: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    """By ranking step: the rankings without it, in the same order."""
    stored_seconds: float = 0.0
    indexed_seconds: float = 0.0
    health: list[str] = field(default_factory=list)
    """What the engine had to say about itself, each thing once."""


class Evaluating:
    """Runs recall sets through an engine whose question parts `stopwatch` times; nobody else may use it meanwhile."""

    def __init__(self, engine: Engine, stopwatch: Stopwatch) -> None:
        self._engine = engine
        self._stopwatch = stopwatch

    def run(self, found: RecallSet, steps: Sequence[str], progress: Progress) -> Evaluated:
        """Store, index and ask; each question again without each of the `steps`.

        Raises `Unavailable` when not all became recallable by meaning, `ModelMissing`.
        """
        evaluated = Evaluated(ablated={step: [] for step in steps})
        total = found.memories + found.questions * (1 + len(steps))
        done = 0
        for number, conversation in enumerate(found.conversations):
            scope = Scope(f"evaluation-{number}", "eval")
            refs = self._store(scope, conversation, evaluated, partial(_add, progress, done, total))
            done += len(refs)
            for place, question in enumerate(conversation.questions):
                evaluated.outcomes.append(self._ask(scope, conversation.id, place, question, refs))
                for step in steps:
                    evaluated.ablated[step].append(self._ranking(scope, question, refs, frozenset({step}))[0])
                done += 1 + len(steps)
                progress(done, total)
        return evaluated

    def _store(
        self, scope: Scope, conversation: Conversation, evaluated: Evaluated, progress: Progress
    ) -> dict[str, str]:
        """Store all of a conversation and bring it into the index; the refs by memory id."""
        began = time.perf_counter()
        ids: list[str] = []
        for start in range(0, len(conversation.memories), BATCH):
            receipts = self._engine.store_many(scope, conversation.memories[start : start + BATCH])
            ids += [str(receipt.id) for receipt in receipts]
        stored = time.perf_counter()
        self._engine.index(scope, progress)
        evaluated.stored_seconds += stored - began
        evaluated.indexed_seconds += time.perf_counter() - stored
        found = self._engine.status(scope)
        if found.pending_words or found.pending_vectors:
            raise Unavailable(f"not all memories became recallable: {'; '.join(found.health) or 'no reason is known'}")
        evaluated.health += [note for note in found.health if note not in evaluated.health]
        return dict(zip(ids, conversation.refs, strict=True))

    def _ask(self, scope: Scope, conversation: str, number: int, question: Question, refs: dict[str, str]) -> Outcome:
        """The default answer, timed, then the whole ranking."""
        query = RecallQuery(question.query)
        self._stopwatch.take()
        began = time.perf_counter()
        answer = self._engine.recall(scope, query)
        seconds = time.perf_counter() - began
        parts = self._stopwatch.take()
        ranking, degraded = self._ranking(scope, question, refs, frozenset())
        return Outcome(
            conversation=conversation,
            number=number,
            query=question.query,
            category=question.category,
            relevant=question.relevant,
            ranking=ranking,
            answer=_refs(answer, refs),
            tokens=answer.tokens,
            omitted=answer.omitted,
            degraded=tuple(dict.fromkeys([*answer.degraded, *degraded])),
            seconds=seconds,
            embed_seconds=parts.get("embed_query", 0.0) + parts.get("weigh", 0.0),
            search_seconds=parts.get("search", 0.0),
        )

    def _ranking(
        self, scope: Scope, question: Question, refs: dict[str, str], without: frozenset[str]
    ) -> tuple[tuple[str, ...], Sequence[str]]:
        query = RecallQuery(question.query, limit=DEEPEST, max_tokens=UNBOUNDED, without=without, fold=False)
        found = self._engine.recall(scope, query)
        return _refs(found, refs), found.degraded


def _add(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    """Tell the progress of a part as progress of the whole."""
    progress(before + done, total)


def _refs(found: Recall, refs: dict[str, str]) -> tuple[str, ...]:
    """What an answer holds, in order; what was folded into a hit stands right after it."""
    return tuple(refs[str(key)] for hit in found.hits for key in (hit.memory.id, *(each.id for each in hit.alike)))
