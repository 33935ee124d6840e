"""Which embedder: the default in this process, a model of sentence-transformers, or an endpoint elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from embeddings.batching import BatchEmbedder
from embeddings.endpoint import Endpoint
from embeddings.onnx import OnnxEmbedder
from embeddings.resolve import resolve


@dataclass(frozen=True, slots=True)
class Local:
    """A model in this process; `model` as SOMA_EMBEDDING_MODEL has it."""

    model: str | None = None
    backend: Literal["onnx", "transformers"] = "onnx"
    threads: int | None = None
    """How many texts at once, with `onnx`; None: by the processors."""


@dataclass(frozen=True, slots=True)
class Model:
    """An embedder, and what is known of its model beside."""

    embedder: BatchEmbedder
    languages: tuple[str, ...] = ()
    """Those that it was made for, in English ("german"); none where that is not said."""
    megabytes: int = 0
    """Roughly what it takes in memory here once it is loaded."""
    close: Callable[[], None] = lambda: None


def open_model(choice: Local | Endpoint) -> Model:
    """The embedder, not loaded; an endpoint is asked once, so that a wrong address or key is told at once.

    Raises `ModelMissing`; for an endpoint `Unavailable` or `InvalidInput`.
    """
    if isinstance(choice, Endpoint):
        from embeddings.remote import open_remote  # httpx2 takes 60 ms of every start

        remote = open_remote(choice)
        return Model(remote, close=remote.close)
    if choice.backend == "transformers":
        from embeddings.transformers import TransformersEmbedder, find_weights

        weights = find_weights(choice.model)
        local = TransformersEmbedder(weights)
        return Model(local, megabytes=weights.megabytes, close=local.close)
    files = resolve(choice.model)
    return Model(OnnxEmbedder(files, choice.threads), files.languages, 2 * files.model.stat().st_size >> 20)


def is_chosen(model_id: str, choice: Local | Endpoint) -> bool:
    """Whether a model is the one chosen, as far as can be told without asking an endpoint. Raises `ModelMissing`."""
    if isinstance(choice, Endpoint) and not choice.dimensions:
        return re.fullmatch(re.escape(choice.model_id) + r"\d+", model_id) is not None
    return model_id == expected_id(choice)


def expected_id(choice: Local | Endpoint) -> str:
    """The id of the model chosen; the length of its vectors is not in it where only an endpoint knows it."""
    if isinstance(choice, Endpoint):
        return choice.model_id
    return open_model(choice).embedder.model_id
