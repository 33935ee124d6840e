"""A cross-encoder from a folder: onnxruntime and tokenizers, loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embeddings.crew import Crew
from soma_core.domain.errors import ModelMissing

if TYPE_CHECKING:
    from embeddings.pairs import PairSession

FILES = ("model.onnx", "tokenizer.json", "config.json")
THREADS = 2


class OnnxReranker:
    """`Reranker` over one ONNX graph of sequence classification. A pair has the same score whatever is beside it."""

    def __init__(self, folder: Path) -> None:
        """Loads nothing. Raises `ModelMissing` for a folder that lacks a file."""
        lacking = [name for name in FILES if not (folder / name).is_file()]
        if lacking:
            raise reranker_missing(f"{folder} has no {' and no '.join(lacking)}")
        self._folder = folder
        self._crew = Crew(THREADS)
        self._lock = threading.Lock()
        self._session: PairSession | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._session is not None

    def load(self) -> None:
        """Load the model, once; after a failure the next call tries again. Raises `ModelMissing`."""
        self._loaded()

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """The score of each text, in the order given."""
        session = self._loaded()
        return self._crew.map(lambda text: session.score(question, text), texts)

    def _loaded(self) -> PairSession:
        with self._lock:
            if self._session is None:
                self._session = _open(self._folder)
            return self._session


def _open(folder: Path) -> PairSession:
    try:
        from embeddings.pairs import PairSession

        return PairSession(folder)
    except Exception as error:  # the runtime and the tokenizer raise bare and private classes
        raise reranker_missing(f"the model in {folder} cannot be used: {error}") from error


def reranker_missing(reason: str) -> ModelMissing:
    """The error for a reranker that cannot be had."""
    return ModelMissing(
        f"{reason}. SOMA_RERANKER_MODEL must be a folder with {', '.join(FILES)}, or not be set",
        fields=("SOMA_RERANKER_MODEL",),
    )
