"""The default embedder: onnxruntime and tokenizers, on the processor, without torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embeddings.crew import Crew
from embeddings.files import ModelFiles, check_unaltered, model_missing
from soma_core.ports.embedder import Vector

if TYPE_CHECKING:
    from embeddings.session import ModelSession

MOST_THREADS = 4


class OnnxEmbedder:
    """`Embedder` over one ONNX graph. A text has the same vector whatever is embedded beside it.

    A list is spread over up to `parallel` threads, one text each. Passages leave the processor to queries: of the
    threads of a list of passages only the caller's goes on while a query is embedded.
    """

    def __init__(self, files: ModelFiles, threads: int | None = None) -> None:
        """Loads nothing. `threads`: how many texts at once; by default a processor each, at most 4."""
        self._files = files
        self._crew = Crew(threads or min(MOST_THREADS, _processors()))
        self._lock = threading.Lock()
        self._session: ModelSession | None = None

    @property
    def model_id(self) -> str:
        """Name and precision; from outside the package also the start of the graph's hash."""
        return self._files.model_id

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return self._files.dimensions

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._session is not None

    @property
    def parallel(self) -> int:
        """How many texts it embeds at once; more callers than that slow each other down."""
        return self._crew.size

    def load(self) -> None:
        """Check both files against their hashes and load them, once; after a failure the next call tries again.

        Raises `ModelMissing`.
        """
        self._loaded()

    def embed_query(self, text: str) -> Vector:
        """The vector of a question."""
        return self.embed_queries([text])[0]

    def embed_queries(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of questions, in the order given; each as `embed_query` gives it."""
        session = self._loaded()
        with self._crew.urgent():
            return self._crew.map(session.vector, [self._files.query_prefix + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of passages, in the order given."""
        session = self._loaded()
        return self._crew.map(session.vector, [self._files.passage_prefix + text for text in texts], yielding=True)

    def _loaded(self) -> ModelSession:
        with self._lock:
            if self._session is None:
                check_unaltered(self._files)
                self._session = _open(self._files)
            return self._session


def _open(files: ModelFiles) -> ModelSession:
    try:
        from embeddings.session import ModelSession
    except ImportError as error:
        raise model_missing(f"onnxruntime, tokenizers or numpy cannot be imported: {error}") from error
    return ModelSession(files)


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
