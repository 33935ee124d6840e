"""Text to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Vector = Sequence[float]


class Embedder(Protocol):
    """One embedding model. Safe to call from many threads.

    A model is loaded once, by the first call that needs it or by `load`. Until then `ready` is False, and callers
    that cannot wait do without. It is always the model that `model_id` names: one that cannot be loaded raises,
    another never takes its place. A model that is elsewhere may be away: then every call raises `Unavailable`, which
    says nothing of the texts, and `ready` is False until a later `load` finds it again. Any other error is about a
    text of the call.
    """

    @property
    def model_id(self) -> str:
        """Name and precision, such as ``bge-small-en-v1.5:int8``. Known before the model is loaded."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of every vector. Known before the model is loaded."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and not known to be away, so that a call does not wait for it."""
        ...

    def load(self) -> None:
        """Load the model now; returns at once when it is. Raises `ModelMissing`."""
        ...

    def embed_query(self, text: str) -> Vector:
        """The vector of a question, of unit length. Text beyond the model's window is cut. Raises `ModelMissing`."""
        ...

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of passages, of unit length, in the order given. Raises `ModelMissing`."""
        ...


class WrappedEmbedder:
    """All of an `Embedder` over another one but the questions."""

    def __init__(self, inner: Embedder) -> None:
        self._wrapped = inner

    @property
    def model_id(self) -> str:
        """The inner embedder's."""
        return self._wrapped.model_id

    @property
    def dimensions(self) -> int:
        """The inner embedder's."""
        return self._wrapped.dimensions

    @property
    def ready(self) -> bool:
        """Whether the inner embedder is ready."""
        return self._wrapped.ready

    def load(self) -> None:
        """Load the inner embedder."""
        self._wrapped.load()

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The inner embedder's vectors."""
        return self._wrapped.embed_passages(texts)
