"""Question and text read together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """A model that reads a question beside a text. Safe to call from many threads; loaded once, like an `Embedder`."""

    @property
    def ready(self) -> bool:
        """Whether the model is loaded, so that a call does not wait for it."""
        ...

    def load(self) -> None:
        """Load the model now; returns at once when it is. Raises `ModelMissing`."""
        ...

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question: any numbers, the greater the better.

        A pair beyond the model's window is cut at the longer of the two. Raises `ModelMissing`.
        """
        ...
