"""Text to the weighted words of a model's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Weights = Mapping[int, float]
"""The weights of words by their number in the vocabulary, all above 0; words that are not there weigh nothing."""


class SparseModel(Protocol):
    """A model that knows which words a text is about, also words it does not hold (SPLADE).

    Safe to call from many threads; loaded once, like an `Embedder`.
    """

    @property
    def model_id(self) -> str:
        """Which model it is: weights of two models are never compared. Known before it is loaded."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the model is loaded, so that a call does not wait for it."""
        ...

    def load(self) -> None:
        """Load the model now; returns at once when it is. Raises `ModelMissing`."""
        ...

    def weigh(self, texts: Sequence[str]) -> list[Weights]:
        """The words of each text, in the order given; a question and a passage are alike.

        Text beyond the model's window is cut. Raises `ModelMissing`.
        """
        ...
