"""Any model of sentence-transformers, on a graphics card where there is one (the extra `transformers`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from embeddings.files import model_missing
from embeddings.weights import Weights, find_weights
from soma_core.domain.errors import InvalidInput
from soma_core.ports.embedder import Vector

__all__ = ["TransformersEmbedder", "find_weights"]

BATCH_TEXTS, BATCH_CHARS = 32, 16_000
"""Of passages embedded at once; a question that comes meanwhile waits for one batch."""


class TransformersEmbedder:
    """`Embedder` over a model of sentence-transformers.

    Prompts and the window are the model's own. One thread runs it: its tokenizer cannot be shared, and torch spreads
    a batch over the processors by itself.
    """

    def __init__(self, weights: Weights) -> None:
        """Loads nothing; torch takes seconds. Raises `ModelMissing` where the extra is not installed."""
        if find_spec("sentence_transformers") is None:
            raise model_missing(
                "SOMA_EMBEDDING_BACKEND=transformers needs sentence-transformers, which is not installed"
            )
        self._weights = weights
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="soma-embed")
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def model_id(self) -> str:
        """Name, precision, and the start of a hash of the weights."""
        return self._weights.model_id

    @property
    def dimensions(self) -> int:
        """Length of every vector; loads a model whose files do not tell it."""
        return self._weights.dimensions or int(self._loaded().get_embedding_dimension())

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._model is not None

    @property
    def parallel(self) -> int:
        """One: several questions go in a batch."""
        return 1

    def load(self) -> None:
        """Load the model, once; after a failure the next call tries again. Raises `ModelMissing`."""
        self._loaded()

    def close(self) -> None:
        """End its thread after the batch at work."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def embed_query(self, text: str) -> Vector:
        """The vector of a question."""
        return self.embed_queries([text])[0]

    def embed_queries(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of questions, in the order given; each as `embed_query` gives it."""
        return self._embed(self._loaded().encode_query, texts)

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of passages, in the order given."""
        return self._embed(self._loaded().encode_document, texts)

    def _embed(self, encode: Any, texts: Sequence[str]) -> list[Vector]:
        found: list[Vector] = [()] * len(texts)
        for places in _batches(texts):
            batch = [texts[place] for place in places]
            vectors = self._thread.submit(_encoded, encode, batch).result()
            for place, vector in zip(places, vectors, strict=True):
                found[place] = vector
        return found

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = _open(self._weights)
            return self._model


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """The places of texts of like length together."""
    batch: list[int] = []
    chars = 0
    for place in sorted(range(len(texts)), key=lambda place: len(texts[place])):
        if batch and (len(batch) == BATCH_TEXTS or chars + len(texts[place]) > BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(place)
        chars += len(texts[place])
    if batch:
        yield batch


def _encoded(encode: Any, texts: Sequence[str]) -> list[Vector]:
    """Unit vectors of plain floats. Raises `InvalidInput` for what has no vector."""
    import numpy as np

    try:
        vectors = np.asarray(encode(list(texts), batch_size=len(texts), show_progress_bar=False), dtype=np.float32)
    except TypeError as error:
        raise InvalidInput("text must be Unicode without lone surrogates", fields=("text",)) from error
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise InvalidInput("the model gives a vector without a length for the text", fields=("text",))
    units: list[Vector] = (vectors / lengths).tolist()
    return units


def _open(weights: Weights) -> Any:
    """The loaded model. It asks nobody: what a hub name needs was fetched before."""
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        model = SentenceTransformer(
            str(weights.folder), local_files_only=True, model_kwargs={"dtype": weights.precision}
        )
        found = len(_encoded(model.encode_query, ["a text"])[0])
    except Exception as error:  # torch, the tokenizer and the files' readers have no common class
        raise model_missing(f"the model in {weights.folder} cannot be used: {error}") from error
    if weights.dimensions not in (None, found):
        raise model_missing(f"{weights.folder} says {weights.dimensions} dimensions, and its model gives {found}")
    return model
