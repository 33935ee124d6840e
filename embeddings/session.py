"""A loaded model: its tokenizer and its graph. Importing this imports the heavy libraries."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from embeddings.files import ModelFiles, model_missing
from soma_core.domain.errors import InvalidInput

Floats = npt.NDArray[np.float32]

SHORT = 400
"""Characters. Such a text is in tokens sooner than another thread would give the interpreter back."""
FEEDS = ("input_ids", "attention_mask", "token_type_ids")


class ModelSession:
    """Text to one unit vector. Safe to call from many threads; each call computes in its caller's thread.

    One text a run, never a batch: an int8 graph scales each tensor by the largest value in it, so in a batch a
    text's vector depends on its neighbours (cosine 0.9965, a tenth of the top 10 changed), and a batch is no faster.
    """

    def __init__(self, files: ModelFiles) -> None:
        """Load both files and try them on one text. Raises `ModelMissing` for what cannot be loaded or run."""
        self._files = files
        try:
            self._tokenizer = _tokenizer(files)
            self._session = _session(files)
            self._output = self._session.get_outputs()[0].name
            self._inputs = [given.name for given in self._session.get_inputs()]
            self._try_out()
        except Exception as error:  # the runtime and the tokenizer raise bare and private classes
            raise model_missing(f"the model in {files.model.parent} cannot be used: {error}") from error
        _return_freed_memory()

    def vector(self, text: str) -> list[float]:
        """The vector of one text, of unit length. Text beyond the window is cut. Raises `InvalidInput`."""
        run = self._session.run([self._output], self._feeds(self._tokens(text)))
        found = self._pooled(np.asarray(run[0], dtype=np.float32))
        unit: list[float] = (found / np.linalg.norm(found)).tolist()
        return unit

    def _tokens(self, text: str) -> list[int]:
        try:
            if len(text) <= SHORT:
                return self._tokenizer.encode(text).ids
            # The batch call, for one text too: it alone lets other threads run meanwhile.
            return self._tokenizer.encode_batch_fast([text])[0].ids
        except TypeError as error:
            raise InvalidInput("text must be Unicode without lone surrogates", fields=("text",)) from error

    def _feeds(self, tokens: list[int]) -> dict[str, npt.NDArray[np.int64]]:
        ids = np.array([tokens], dtype=np.int64)
        every = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {name: every[name] for name in self._inputs}

    def _pooled(self, output: Floats) -> Floats:
        """One vector of a run's output: (1, tokens, dimensions), or (1, dimensions) of a graph that pools itself."""
        tokens: Floats = output[0] if output.ndim == 3 else output
        pooled: Floats = tokens[0] if self._files.pooling == "cls" or output.ndim == 2 else tokens.mean(axis=0)
        return pooled

    def _try_out(self) -> None:
        unknown = set(self._inputs) - set(FEEDS)
        if unknown:
            raise ValueError(f"its graph wants {', '.join(sorted(unknown))}, which only {', '.join(FEEDS)} could be")
        with np.errstate(all="ignore"):
            found = self.vector("a text")
        if len(found) != self._files.dimensions or not np.isfinite(found).all():
            raise ValueError(f"it gives {len(found)} numbers where {self._files.dimensions} finite ones were promised")


def _tokenizer(files: ModelFiles) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(files.window)
    return tokenizer


def _session(files: ModelFiles) -> ort.InferenceSession:
    """The graph, computing in its callers' threads: two texts in two threads beat one text in two threads.

    The arena stays on, or long texts fragment the heap (up to 437 MB resident against 185); the memory pattern is
    off, as it keeps a plan for every length it has seen (9-28 MB) and saves no time.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return ort.InferenceSession(str(files.model), options, providers=["CPUExecutionProvider"])


def _return_freed_memory() -> None:
    """Give the system back what loading has freed (6 to 22 MB of 125), where the C library can."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
