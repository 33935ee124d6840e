"""An embedder made of hashes: fast, always the same, and near for texts that share words."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

from soma_core.domain.errors import ModelMissing, Unavailable
from soma_core.ports.embedder import Vector

DIMENSIONS = 64


def embed(text: str) -> list[float]:
    """A unit vector: the sum of a pseudo-random direction for every word."""
    vector = [1e-3] * DIMENSIONS
    for word in text.lower().split():
        digest = hashlib.shake_128(word.encode()).digest(DIMENSIONS)
        vector = [x + byte - 127.5 for x, byte in zip(vector, digest, strict=True)]
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


class HashEmbedder:
    """The `Embedder` port over `embed`.

    `fails` says which texts cannot be embedded; `before` runs at the start of every call for passages. While it is
    `away` every call fails, as where a model is elsewhere.
    """

    model_id = "hash:float64"
    dimensions = DIMENSIONS

    def __init__(self, *, ready: bool = True, missing: bool = False) -> None:
        self.ready = ready
        self.missing = missing
        self.away = False
        self.fails: Callable[[str], bool] = lambda text: False
        self.before: Callable[[], None] = lambda: None
        self.calls: list[list[str]] = []

    def load(self) -> None:
        if self.missing:
            raise ModelMissing("there is no model")
        if self.away:
            raise Unavailable("the model is away")
        self.ready = True

    def embed_query(self, text: str) -> Vector:
        self.load()
        return embed(text)

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        self.load()
        self.calls.append(list(texts))
        self.before()
        for text in texts:
            if self.fails(text):
                raise RuntimeError(f"cannot embed {text[:20]!r}")
        return [embed(text) for text in texts]
