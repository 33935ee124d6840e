"""A SPLADE model from a folder: onnxruntime and tokenizers, loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embeddings.crew import Crew
from embeddings.files import sha256_of
from soma_core.domain.errors import ModelMissing
from soma_core.ports.sparse import Weights

if TYPE_CHECKING:
    from embeddings.vocabulary import VocabularySession

FILES = ("model.onnx", "tokenizer.json", "config.json")
THREADS = 2


class OnnxSparseModel:
    """`SparseModel` over one ONNX graph of masked language modelling."""

    def __init__(self, folder: Path) -> None:
        """Reads the files for `model_id`, loads nothing. Raises `ModelMissing` for a folder that lacks a file."""
        lacking = [name for name in FILES if not (folder / name).is_file()]
        if lacking:
            raise sparse_missing(f"{folder} has no {' and no '.join(lacking)}")
        self._folder = folder
        self._model_id = "-".join(sha256_of(folder / name)[:8] for name in FILES[:2])
        self._crew = Crew(THREADS)
        self._lock = threading.Lock()
        self._session: VocabularySession | None = None

    @property
    def model_id(self) -> str:
        """The starts of the hashes of the graph and of the tokenizer."""
        return self._model_id

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._session is not None

    def load(self) -> None:
        """Load the model, once; after a failure the next call tries again. Raises `ModelMissing`."""
        self._loaded()

    def weigh(self, texts: Sequence[str]) -> list[Weights]:
        """The words of each text, in the order given."""
        session = self._loaded()
        return self._crew.map(session.weigh, texts)

    def _loaded(self) -> VocabularySession:
        with self._lock:
            if self._session is None:
                self._session = _open(self._folder)
            return self._session


def _open(folder: Path) -> VocabularySession:
    try:
        from embeddings.vocabulary import VocabularySession

        return VocabularySession(folder)
    except Exception as error:  # the runtime and the tokenizer raise bare and private classes
        raise sparse_missing(f"the model in {folder} cannot be used: {error}") from error


def sparse_missing(reason: str) -> ModelMissing:
    """The error for a sparse model that cannot be had."""
    return ModelMissing(
        f"{reason}. SOMA_SPARSE_MODEL must be a folder with {', '.join(FILES)}, or not be set",
        fields=("SOMA_SPARSE_MODEL",),
    )
