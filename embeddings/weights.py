"""What is known of a model of sentence-transformers without loading it: its id, precision and dimensions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embeddings.describe import CONFIG, MODULES, PROMPTS, read_json
from embeddings.files import model_missing
from embeddings.resolve import HUB_NAME, expanded, from_hub

WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What is fetched of a hub name: the weights in one form, and what describes them."""
SUFFIXES = (".safetensors", ".bin")
PIECE, PIECES = 65_536, 64
"""A file of weights is known by so many pieces of it: all of some gigabytes would take seconds at every start."""
SAME_LENGTH = ("Dropout", "LayerNorm", "Normalize", "Transformer", "WeightedLayerPooling")
"""Modules that leave the length of a vector as it is."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model is, and what is known of it before it is loaded."""

    model_id: str
    folder: Path
    precision: str
    """Of its numbers as torch names it, such as ``float32``."""
    dimensions: int | None
    """None where only the loaded model can tell."""
    megabytes: int
    """Of all its files of weights."""


def find_weights(spec: str | None) -> Weights:
    """The model that `spec` names: a folder as sentence-transformers writes it, or a hub name; nothing is loaded.

    Raises `ModelMissing`.
    """
    if not spec:
        raise model_missing(
            "SOMA_EMBEDDING_BACKEND=transformers needs SOMA_EMBEDDING_MODEL: the package has no such model"
        )
    folder = expanded(spec)
    if folder.is_dir():
        return _described(folder, folder.resolve().name)
    if HUB_NAME.fullmatch(spec):
        return from_hub(spec, _described, WANTED)
    raise model_missing(f"there is no folder {folder}, and {spec!r} is no hub name (org/name)")


def _described(folder: Path, name: str) -> Weights:
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise model_missing(f"the folder {folder} has no weights ({' or '.join(f'*{each}' for each in SUFFIXES)})")
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    precision = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    model_id = f"{name}:{precision}-torch@{_fingerprint(folder, files)}"
    megabytes = sum(path.stat().st_size for path in files) >> 20
    return Weights(model_id, folder, precision, _dimensions(folder), megabytes)


def _fingerprint(folder: Path, files: Sequence[Path]) -> str:
    """The start of a hash over pieces of the weights, with the names and sizes of their files."""
    digest = hashlib.sha256()
    try:
        for path in files:
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder)} {size}\n".encode())
            with path.open("rb") as file:
                for at in range(0, size, max(PIECE, size // PIECES)):
                    file.seek(at)
                    digest.update(file.read(PIECE))
    except OSError as error:
        raise model_missing(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:8]


def _dimensions(folder: Path) -> int | None:
    """The length of its vectors, followed through its modules; None where one is not known."""
    modules = read_json(folder / MODULES, list) if (folder / MODULES).is_file() else []
    length = _number(_config(folder), "hidden_size")
    for module in modules:
        kind, config = str(module.get("type")).rpartition(".")[2], _config(folder / str(module.get("path")))
        if kind == "Pooling":
            length = _pooled(config)
        elif kind == "Dense":
            length = _number(config, "out_features")
        elif kind not in SAME_LENGTH:
            return None
    cut = _number(read_json(folder / PROMPTS), "truncate_dim") if (folder / PROMPTS).is_file() else None
    return min(length, cut) if length and cut else length


def _pooled(config: Mapping[str, Any]) -> int | None:
    """One vector's length for each way of pooling: flags in older files, a name or names in newer ones."""
    named = config.get("pooling_mode")
    flags = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    ways = len(named) if isinstance(named, list) else 1 if named else len(flags)
    length = _number(config, "embedding_dimension") or _number(config, "word_embedding_dimension")
    return length * ways if length else None


def _config(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    return found


def _number(config: Mapping[str, Any], name: str) -> int | None:
    value = config.get(name)
    return value if isinstance(value, int) and value > 0 else None
