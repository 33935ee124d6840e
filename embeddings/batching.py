"""Concurrent questions, taken together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from soma_core.ports.embedder import Embedder, Vector

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


class BatchingEmbedder:
    """An `Embedder` that micro-batches `embed_query` across threads.

    Up to `inner.parallel` calls go through at once. Who comes while all of those are busy waits, and is embedded with
    the others that wait, by one of them, as soon as a place is free: no timer, no thread of its own, and nothing added
    for a caller who is alone. An error of a batch reaches every caller in it. Passages go straight to the inner one.
    """

    def __init__(self, inner: BatchEmbedder, *, largest: int = LARGEST) -> None:
        """`largest`: the most questions of one batch."""
        self._inner = inner
        self._largest = largest
        self._free = max(1, inner.parallel)
        self._lanes = self._free
        self._waiting: list[_Question] = []
        self._changed = threading.Condition()

    @property
    def model_id(self) -> str:
        """The inner embedder's."""
        return self._inner.model_id

    @property
    def dimensions(self) -> int:
        """The inner embedder's."""
        return self._inner.dimensions

    @property
    def ready(self) -> bool:
        """Whether the inner embedder is ready."""
        return self._inner.ready

    def load(self) -> None:
        """Load the inner embedder."""
        self._inner.load()

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The inner embedder's vectors."""
        return self._inner.embed_passages(texts)

    def embed_query(self, text: str) -> Vector:
        """The vector of a question, alone or in a batch with those that came while others were at work."""
        mine = _Question(text)
        batch = self._join(mine)
        if batch:
            self._embed(batch)
        return mine.answer()

    def _join(self, mine: _Question) -> list[_Question]:
        """Wait until the question is answered (empty list), or there is a place to answer it and others: these."""
        with self._changed:
            self._waiting.append(mine)
            try:
                self._changed.wait_for(lambda: mine.answered or (self._free and mine in self._waiting))
            except BaseException:
                self._waiting = [other for other in self._waiting if other is not mine]
                raise
            return [] if mine.answered else self._take(mine)

    def _take(self, mine: _Question) -> list[_Question]:
        """A fair share of who waits, the oldest first, and in any case one's own question."""
        self._free -= 1
        share = min(self._largest, -(-len(self._waiting) // self._lanes))
        others = [other for other in self._waiting if other is not mine]
        batch, self._waiting = [mine, *others[: share - 1]], others[share - 1 :]
        return batch

    def _embed(self, batch: list[_Question]) -> None:
        back: list[_Question] = []
        try:
            self._answer(batch)
        except BaseException:  # this thread is told to stop; the others of its batch are not
            back = batch[1:]
            raise
        finally:
            with self._changed:
                self._waiting[:0] = back
                self._free += 1
                self._changed.notify_all()

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
