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
from tokenizers.processors import TemplateProcessing


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


def cross_encoder(folder: Path, values: Mapping[str, float]) -> Path:
    """A folder with a model that gives a pair the mean of the values of the text's words; the question's count 0."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = list(values.values())
    table = field(1, len(numbers)) + field(2, 1) + field(8, "table")
    table += field(9, struct.pack(f"<{len(numbers)}f", *numbers))
    nodes = [
        node("Gather", ["table", "input_ids"], "values"),
        node("Cast", ["token_type_ids"], "texts", to=1),
        node("Mul", ["values", "texts"], "counted"),
        node("ReduceMean", ["counted"], "logits", axes=[1], keepdims=1),
    ]
    model = b"".join(field(1, each) for each in nodes) + field(2, "pairs") + field(5, table)
    model += b"".join(field(11, value_info(name, 7, "batch", "length")) for name in ("input_ids", "token_type_ids"))
    model += field(12, value_info("logits", 1, "batch", "one"))
    (folder / "model.onnx").write_bytes(field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, model))
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(values)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "model_type": "bert"}))
    return folder


def sparse_model(folder: Path, logits: Mapping[str, Mapping[str, float]]) -> Path:
    """A folder with a masked-language model: for each word, the logits that it gives words; others get -1."""
    words = list(dict.fromkeys(["[UNK]", *logits, *(to for given in logits.values() for to in given)]))
    lookup_model(folder, {word: [logits.get(word, {}).get(to, -1.0) for to in words] for word in words})
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "model_type": "bert"}))
    return folder


def node(operator: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> bytes:
    """One operation of a graph."""
    made = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)
    for name, value in attributes.items():
        if isinstance(value, int):
            given = field(3, value) + field(20, 2)
        else:
            given = b"".join(field(8, each) for each in value) + field(20, 7)
        made += field(5, field(1, name) + given)
    return made
