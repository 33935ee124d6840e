"""A small embedding model for tests: an ONNX file and a tokenizer, made without the packages that make them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace


def number(value: int) -> bytes:
    """A protobuf varint."""
    head, rest = value & 127, value >> 7
    return bytes([head | 128]) + number(rest) if rest else bytes([head])


def field(at: int, value: int | str | bytes) -> bytes:
    """A protobuf field: a number, or a text or message with its length."""
    if isinstance(value, int):
        return number(at << 3) + number(value)
    data = value.encode() if isinstance(value, str) else value
    return number(at << 3 | 2) + number(len(data)) + data


def value_info(name: str, kind: int, *dimensions: str) -> bytes:
    shape = b"".join(field(1, field(2, dimension)) for dimension in dimensions)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def graph(table: Sequence[Sequence[float]], wants: str = "input_ids") -> bytes:
    """An ONNX file that looks each token's vector up in a table, and wants only token ids."""
    numbers = [number for row in table for number in row]
    tensor = field(1, len(table)) + field(1, len(table[0])) + field(2, 1) + field(8, "table")
    tensor += field(9, struct.pack(f"<{len(numbers)}f", *numbers))
    node = field(1, "table") + field(1, wants) + field(2, "tokens") + field(4, "Gather")
    model = field(1, node) + field(2, "lookup") + field(5, tensor)
    model += field(11, value_info(wants, 7, "batch", "length"))
    model += field(12, value_info("tokens", 1, "batch", "length", "width"))
    return field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, model)


def lookup_model(folder: Path, vectors: Mapping[str, Sequence[float]], **description: object) -> Path:
    """A folder with a model that gives a text the mean of its words' vectors; unknown words have that of "[UNK]"."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph(list(vectors.values())))
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(vectors)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    width = len(next(iter(vectors.values())))
    given = {"name": "lookup", "precision": "float32", "dimensions": width, "window": 64, "pooling": "mean"}
    (folder / "model.json").write_text(json.dumps(given | description))
    return folder
