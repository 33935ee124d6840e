"""A loaded cross-encoder: its tokenizer and its graph. Importing this imports the heavy libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embeddings.graphs import Graph, open_tokenizer


class PairSession:
    """Question and text to one number. Safe to call from many threads; each call computes in its caller's thread."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = open_tokenizer(folder)
        self._graph = Graph(folder / "model.onnx")
        self.score("a question", "a text")

    def score(self, question: str, text: str) -> float:
        """How well the text answers the question: the model's number, or its "yes" less its "no"."""
        found = self._graph.run(self._tokenizer.encode_batch_fast([(question, text)])[0]).ravel()
        if found.size not in (1, 2) or not np.isfinite(found).all():
            raise ValueError(f"it gives {found.size} numbers for a pair where 1 or 2 finite ones must be")
        return float(found[-1] - found[0]) if found.size == 2 else float(found[0])
