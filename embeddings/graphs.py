"""Opening a graph and its tokenizer from a folder. Importing this imports the heavy libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer

MOST_TOKENS = 512
"""Read at once, also by models that would take more: time and memory grow with it."""


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer, which cuts at the window that config.json tells."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    window = min(MOST_TOKENS, int(config["max_position_embeddings"]))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(window - 2 if "roberta" in str(config.get("model_type")) else window)
    return tokenizer


class Graph:
    """A graph over tokens. Safe to call from many threads; each call computes in its caller's thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def run(self, tokens: Encoding) -> npt.NDArray[np.float32]:
        """Its first output for one text or pair."""
        every = {"input_ids": tokens.ids, "attention_mask": tokens.attention_mask, "token_type_ids": tokens.type_ids}
        feeds = {name: np.array([every[name]], dtype=np.int64) for name in self._inputs}
        return np.asarray(self._session.run([self._output], feeds)[0], dtype=np.float32)
