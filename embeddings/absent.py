"""In the place of a model that this process cannot load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from soma_core.domain.errors import ModelMissing
from soma_core.ports.embedder import Vector


class AbsentEmbedder:
    """An `Embedder` that embeds nothing: what was built with its model is searched by words."""

    ready = False

    def __init__(self, model_id: str, dimensions: int | None) -> None:
        self.model_id = model_id
        self.dimensions = dimensions or 0

    def load(self) -> NoReturn:
        raise ModelMissing(
            f"the index that serves was built with the model {self.model_id}, which SOMA_EMBEDDING_MODEL does not "
            "name: until `soma reindex` has built another it is searched by words",
            fields=("SOMA_EMBEDDING_MODEL",),
        )

    def embed_query(self, text: str) -> Vector:
        self.load()

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        self.load()
