"""The files of one model, what is known of it before it is loaded, and whether the files are unaltered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from soma_core.domain.errors import ModelMissing

Pooling = Literal["cls", "mean"]

THREE_WAYS = (
    "A model comes in one of three ways: the package (leave SOMA_EMBEDDING_MODEL unset; if its files are missing or "
    "altered, reinstall soma-fractal-memory), a folder with model.onnx and tokenizer.json "
    "(SOMA_EMBEDDING_MODEL=/path/to/folder), or a hub name (SOMA_EMBEDDING_MODEL=org/name; needs the network once). "
    "SOMA_EMBEDDING_BACKEND=transformers takes a folder or a hub name of any model of sentence-transformers, and needs "
    "the extra: pip install 'soma-fractal-memory[transformers]'"
)


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's files are, and what is known of it without loading it.

    `model_id` is the name and the precision; a model from outside the package has the start of its hash there too.
    `window` is in tokens, special ones counted. `sha256` maps file names to what they must hash to; a file it does
    not name is not checked. `languages` are those that the model was made for, in English ("german"); none where that
    is not said.
    """

    model_id: str
    dimensions: int
    window: int
    pooling: Pooling
    model: Path
    tokenizer: Path
    query_prefix: str = ""
    passage_prefix: str = ""
    languages: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)


def model_missing(reason: str) -> ModelMissing:
    """The error for a model that cannot be had; it always names the three ways to get one."""
    return ModelMissing(f"{reason.rstrip(' .')}. {THREE_WAYS}", fields=("SOMA_EMBEDDING_MODEL",))


def sha256_of(path: Path) -> str:
    """The hash of a file, in hex, read in pieces and without holding the GIL. Raises `ModelMissing`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise model_missing(f"{path} cannot be read: {error.strerror}") from error


def check_unaltered(files: ModelFiles) -> None:
    """Compare the files with the hashes they must have. Raises `ModelMissing` naming the file and both hashes."""
    for path in (files.model, files.tokenizer):
        expected = files.sha256.get(path.name)
        if expected and (found := sha256_of(path)) != expected:
            raise model_missing(f"{path} is altered: its sha256 should be {expected}, and is {found}")
