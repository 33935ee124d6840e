"""A loaded cross-encoder: its tokenizer and its graph. Importing this imports the heavy libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

MOST_TOKENS = 512
"""Of question and text together, for models that would take more: thirty pairs are read for every question."""


class PairSession:
    """Question and text to one number. Safe to call from many threads; each call computes in its caller's thread."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        window = min(MOST_TOKENS, int(config["max_position_embeddings"]))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window - 2 if "roberta" in str(config.get("model_type")) else window)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name
        self.score("a question", "a text")

    def score(self, question: str, text: str) -> float:
        """How well the text answers the question: the model's number, or its "yes" less its "no"."""
        pair = self._tokenizer.encode_batch_fast([(question, text)])[0]
        every = {"input_ids": pair.ids, "attention_mask": pair.attention_mask, "token_type_ids": pair.type_ids}
        feeds = {name: np.array([every[name]], dtype=np.int64) for name in self._inputs}
        found = np.asarray(self._session.run([self._output], feeds)[0], dtype=np.float64).ravel()
        if found.size not in (1, 2) or not np.isfinite(found).all():
            raise ValueError(f"it gives {found.size} numbers for a pair where 1 or 2 finite ones must be")
        return float(found[-1] - found[0]) if found.size == 2 else float(found[0])
