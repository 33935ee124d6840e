"""Concurrent questions, taken together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from soma_core.ports.embedder import Embedder, Vector, WrappedEmbedder

LARGEST = 64


class BatchEmbedder(Embedder, Protocol):
    """An embedder that takes several questions in one call."""

    @property
    def parallel(self) -> int:
        """How many calls it serves side by side before they slow each other down."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of questions, in the order given; each as `embed_query` gives it. Raises `ModelMissing`."""
        ...


class BatchingEmbedder(WrappedEmbedder):
    """An `Embedder` that micro-batches `embed_query` across threads.

    Up to `inner.parallel` calls go through at once. Who comes while all of those are busy waits, and is embedded with
    the others that wait, by one of them, as soon as a place is free: no timer, no thread of its own, and nothing added
    for a caller who is alone. An error of a batch reaches every caller in it. Passages go straight to the inner one.
    """

    def __init__(self, inner: BatchEmbedder, *, largest: int = LARGEST) -> None:
        """`largest`: the most questions of one batch."""
        super().__init__(inner)
        self._inner = inner
        self._largest = largest
        self._free = max(1, inner.parallel)
        self._lanes = self._free
        self._waiting: list[_Question] = []
        self._changed = threading.Condition()

    def embed_query(self, text: str) -> Vector:
        """The vector of a question, alone or in a batch with those that came while others were at work."""
        mine = _Question(text)
        with self._changed:
            self._waiting.append(mine)
        try:
            while batch := self._next(mine):
                self._embed(batch)
        finally:
            self._forget(mine)
        return mine.answer()

    def _next(self, mine: _Question) -> list[_Question]:
        """Wait for the answer (then empty), or for a place to answer some: a fair share of who waits, oldest first.

        The oldest go first even when one's own question is not among them, or who asks often would starve the others.
        """
        with self._changed:
            self._changed.wait_for(lambda: mine.answered or (self._free and self._waiting))
            if mine.answered:
                return []
            self._free -= 1
            share = min(self._largest, -(-len(self._waiting) // self._lanes))
            batch, self._waiting = self._waiting[:share], self._waiting[share:]
            return batch

    def _embed(self, batch: list[_Question]) -> None:
        try:
            self._answer(batch)
        finally:  # unanswered: this thread is told to stop, those who asked are not
            with self._changed:
                self._waiting[:0] = [question for question in batch if not question.answered]
                self._free += 1
                self._changed.notify_all()

    def _forget(self, mine: _Question) -> None:
        """Leave the queue; a thread that is told to stop is in it still."""
        if not mine.answered:
            with self._changed:
                self._waiting = [other for other in self._waiting if other is not mine]

    def _answer(self, batch: list[_Question]) -> None:
        try:
            vectors = self._inner.embed_queries([question.text for question in batch])
            for question, vector in zip(batch, vectors, strict=True):
                question.vector = vector
        except Exception as error:
            for question in batch:
                question.error = error
        for question in batch:
            question.answered = True


class _Question:
    """A caller's text, and in the end its vector or the error."""

    __slots__ = ("answered", "error", "text", "vector")

    def __init__(self, text: str) -> None:
        self.text = text
        self.vector: Vector | None = None
        self.error: BaseException | None = None
        self.answered = False

    def answer(self) -> Vector:
        if self.error:
            raise self.error
        assert self.vector is not None
        return self.vector
