"""The models that a process can load: those of its settings, those that a rebuild names, and the packaged one."""

from __future__ import annotations

from collections.abc import Callable

from embeddings.batching import BatchingEmbedder
from embeddings.choice import Local, Model, open_model
from embeddings.endpoint import Endpoint
from soma_core.domain.generations import Generation
from soma_core.ports.builds import Trained
from soma_core.ports.embedder import Embedder
from soma_core.ports.sparse import SparseModel


class ModelSupply:
    """`Models` over what settings choose. Each model is there once, whoever asks for it; close it when done."""

    def __init__(
        self,
        choose: Callable[[str | None], Local | Endpoint],
        language: str,
        sparse: SparseModel | None,
        watched: Callable[[Embedder], Embedder],
        threads: int | None = None,
    ) -> None:
        """`choose`: what a model's name in the settings stands for, and what is meant by none; `language`: theirs.

        `threads`: how many texts the packaged model embeds at once where it was not chosen; see `OnnxEmbedder`.
        """
        self._choose = choose
        self._language = language
        self._sparse = sparse
        self._watched = watched
        self._threads = threads
        self._opened: dict[str, Model] = {}
        self._trained: dict[str, Trained] = {}

    def plan(self, model: str | None, language: str | None) -> Generation:
        """The model is opened for it, not loaded; an endpoint is asked."""
        embedder = self._train(self._choose(model)).embedder
        return Generation(0, embedder.model_id, embedder.dimensions, language or self._language, self._sparse_model_id)

    def trained(self, generation: Generation) -> Trained | None:
        """The models of a generation; the packaged one is known without being named."""
        if generation.sparse_model_id != self._sparse_model_id:
            return None
        if generation.model_id not in self._trained:
            self._train(Local(threads=self._threads))
        return self._trained.get(generation.model_id)

    def close(self) -> None:
        """Let go of threads and connections."""
        for model in self._opened.values():
            model.close()

    @property
    def _sparse_model_id(self) -> str | None:
        return self._sparse.model_id if self._sparse else None

    def _train(self, choice: Local | Endpoint) -> Trained:
        model = open_model(choice)
        model_id = model.embedder.model_id
        if model_id in self._opened:
            model.close()
        else:
            self._opened[model_id] = model
            embedder = self._watched(BatchingEmbedder(model.embedder))
            self._trained[model_id] = Trained(embedder, self._sparse, model.languages, model.megabytes)
        return self._trained[model_id]
