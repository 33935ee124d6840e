"""A loaded SPLADE model: its tokenizer and its graph. Importing this imports the heavy libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embeddings.graphs import Graph, open_tokenizer
from soma_core.ports.sparse import Weights


class VocabularySession:
    """Text to the weights of the vocabulary's words. Safe to call from many threads.

    The graph gives every token's logits over the vocabulary (masked language modelling); a word weighs log(1 + its
    greatest logit), where that is above 0 (Formal et al., "SPLADE v2", 2021).
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = open_tokenizer(folder)
        self._graph = Graph(folder / "model.onnx")
        self.weigh("a text")

    def weigh(self, text: str) -> Weights:
        """The words that weigh anything; none for a text without tokens."""
        tokens = self._tokenizer.encode_batch_fast([text])[0]
        if not tokens.ids:
            return {}
        logits = self._graph.run(tokens)
        if logits.ndim != 3 or logits.shape[-1] < self._tokenizer.get_vocab_size():
            raise ValueError(f"it gives numbers of the shape {logits.shape}, not a logit for each token and each word")
        greatest = logits[0].max(axis=0)
        if not np.isfinite(greatest).all():
            raise ValueError("it gives numbers that are not finite")
        words = np.flatnonzero(greatest > 0)
        weights: list[float] = np.log1p(greatest[words]).tolist()
        return dict(zip(words.tolist(), weights, strict=True))
