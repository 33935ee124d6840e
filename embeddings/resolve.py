"""Where a model's files come from: the package, a folder, or a hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from embeddings.describe import DESCRIPTIONS, MANIFEST, read_manifest, read_sentence_transformers
from embeddings.files import ModelFiles, model_missing, sha256_of
from soma_core.domain.errors import ModelMissing

__all__ = ["ModelFiles", "expanded", "from_hub", "resolve"]

Found = TypeVar("Found")

PACKAGED = Path(__file__).parent / "models" / "bge-small-en-v1.5-int8"
GRAPH = "model.onnx"
GRAPHS = (GRAPH, f"onnx/{GRAPH}")
TOKENIZER = "tokenizer.json"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve(spec: str | None) -> ModelFiles:
    """The files of the model that `spec` names; nothing is loaded.

    None or empty: the model in the package, which costs no more than reading its model.json. A path: a folder. A hub
    name ``org/name`` that is no folder: the hub, from its cache on this machine when it is there.
    Raises `ModelMissing`, saying what is not there and the three ways to get a model.
    """
    if not spec:
        return _packaged()
    folder = expanded(spec)
    if folder.exists():
        return _from_folder(folder, folder.resolve().name)
    if HUB_NAME.fullmatch(spec):
        return from_hub(spec, _from_folder, [*GRAPHS, TOKENIZER, *DESCRIPTIONS])
    raise model_missing(f"there is no folder {folder}, and {spec!r} is no hub name (org/name)")


def expanded(spec: str) -> Path:
    """The path that `spec` would be. Raises `ModelMissing` for a user who is not there."""
    try:
        return Path(spec).expanduser()
    except RuntimeError as error:
        raise model_missing(f"{spec}: {error}") from error


def _packaged() -> ModelFiles:
    model, tokenizer = PACKAGED / GRAPH, PACKAGED / TOKENIZER
    lacking = [path.name for path in (model, tokenizer, PACKAGED / MANIFEST) if not path.is_file()]
    if lacking:
        raise model_missing(f"the package's model has no {' and no '.join(lacking)} in {PACKAGED}")
    return read_manifest(PACKAGED / MANIFEST, model, tokenizer)


def _from_folder(folder: Path, name: str) -> ModelFiles:
    """The model in a folder. Its id has the start of the graph's hash, so two files of one name stay apart."""
    model, tokenizer = _parts(folder)
    if (folder / MANIFEST).is_file():
        files = read_manifest(folder / MANIFEST, model, tokenizer)
    else:
        files = read_sentence_transformers(folder, name, model, tokenizer)
    found = sha256_of(model)
    return replace(files, model_id=f"{files.model_id}@{found[:8]}", sha256={model.name: found, **files.sha256})


def _parts(folder: Path) -> tuple[Path, Path]:
    model = next((path for path in map(folder.joinpath, GRAPHS) if path.is_file()), None)
    tokenizer = folder / TOKENIZER
    lacking = [] if model else [f"{GRAPHS[0]} (or {GRAPHS[1]})"]
    if not tokenizer.is_file():
        lacking.append(TOKENIZER)
    if lacking or model is None:
        raise model_missing(f"the folder {folder} has no {' and no '.join(lacking)}")
    return model, tokenizer


def from_hub(name: str, read: Callable[[Path, str], Found], patterns: Sequence[str]) -> Found:
    """What `read` makes of the files of a hub name that fit the patterns. Raises `ModelMissing`.

    What is cached goes first, so a known model starts offline and never changes.
    """
    try:
        return read(_snapshot(name, patterns, cached=True), name)
    except ModelMissing:
        return read(_snapshot(name, patterns, cached=False), name)


def _snapshot(name: str, patterns: Sequence[str], *, cached: bool) -> Path:
    fetch = _hub()
    try:
        return Path(fetch(name, allow_patterns=[*patterns], local_files_only=cached))
    except Exception as error:  # the hub client's errors have no common class
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise model_missing(
            f"there is no folder {name}, and the model {name} could not be fetched from the hub "
            f"(offline, unreachable, or no such model): {reason}"
        ) from error


def _hub() -> Callable[..., str]:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise model_missing("a hub name needs the package huggingface-hub, which is not installed") from error
    return snapshot_download
