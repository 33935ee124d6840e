"""What a folder says about the model in it: in our own model.json, or in the files of sentence-transformers."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from embeddings.files import ModelFiles, Pooling, model_missing

MANIFEST = "model.json"
POOLING = "1_Pooling/config.json"
SETTINGS = "sentence_bert_config.json"
CONFIG = "config.json"
MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
DESCRIPTIONS = (MANIFEST, POOLING, SETTINGS, CONFIG, MODULES, PROMPTS)

INT8_OPERATORS = (b"MatMulInteger", b"QLinearMatMul")

Kind = TypeVar("Kind")


def read_manifest(path: Path, model: Path, tokenizer: Path) -> ModelFiles:
    """The model that a model.json is about. Raises `ModelMissing`, naming the field that is absent or wrong."""
    given = {"query_prefix": "", "passage_prefix": "", "sha256": {}, "languages": [], **read_json(path)}
    return ModelFiles(
        model_id=f"{want(path, given, 'name', str)}:{want(path, given, 'precision', str)}",
        dimensions=want(path, given, "dimensions", int),
        window=want(path, given, "window", int),
        pooling=_known_pooling(path, [want(path, given, "pooling", str)]),
        model=model,
        tokenizer=tokenizer,
        query_prefix=want(path, given, "query_prefix", str),
        passage_prefix=want(path, given, "passage_prefix", str),
        sha256=want(path, given, "sha256", dict),
        languages=_languages(path, given),
    )


def read_sentence_transformers(folder: Path, name: str, model: Path, tokenizer: Path) -> ModelFiles:
    """The model that the files of sentence-transformers are about.

    Raises `ModelMissing`, naming the file that is not there or the part of the model that cannot be done.
    """
    lacking = [part for part in (POOLING, CONFIG) if not (folder / part).is_file()]
    if lacking:
        raise model_missing(f"{folder} does not describe its model: it has neither {MANIFEST} nor {', '.join(lacking)}")
    _refuse_more_layers(folder / MODULES)
    config = read_json(folder / CONFIG)
    prompts = _prompts(folder / PROMPTS)
    return ModelFiles(
        model_id=f"{name}:{precision_of(model)}",
        dimensions=want(folder / CONFIG, config, "hidden_size", int),
        window=_window(folder, config),
        pooling=_pooling(folder / POOLING),
        model=model,
        tokenizer=tokenizer,
        query_prefix=prompts.get("query", ""),
        passage_prefix=prompts.get("document") or prompts.get("passage") or "",
    )


def precision_of(model: Path) -> str:
    """`int8` if the graph multiplies in int8, else `float`; int8 weights alone are made float at load (FACTS)."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as graph:
            return "int8" if any(graph.find(name) >= 0 for name in INT8_OPERATORS) else "float"
    except (OSError, ValueError) as error:
        raise model_missing(f"{model} cannot be read: {error}") from error


def _pooling(path: Path) -> Pooling:
    """How the token vectors become one: flags in older files, a name in newer ones."""
    given = read_json(path)
    named = given.get("pooling_mode")
    flags = [key.removeprefix("pooling_mode_") for key, on in given.items() if on is True]
    modes = [str(named)] if named else [flag for flag in flags if flag != "include_prompt"]
    return _known_pooling(path, [mode.removesuffix("_tokens").removesuffix("_token") for mode in modes])


def _languages(path: Path, given: Mapping[str, Any]) -> tuple[str, ...]:
    named = want(path, given, "languages", list)
    if not all(isinstance(name, str) for name in named):
        raise model_missing(f'{path}: languages is {named!r}, and must be names such as "english"')
    return tuple(name.lower() for name in named)


def _known_pooling(path: Path, modes: list[str]) -> Pooling:
    if len(modes) != 1 or modes[0] not in get_args(Pooling):
        raise model_missing(f"{path}: pooling is {' + '.join(modes) or 'not said'}, and must be cls or mean")
    return cast("Pooling", modes[0])


def _window(folder: Path, config: Mapping[str, Any]) -> int:
    """How many tokens the model takes. The positions of RoBERTa's family begin after the padding's own."""
    settings = folder / SETTINGS
    if settings.is_file() and (given := read_json(settings)).get("max_seq_length") is not None:
        return want(settings, given, "max_seq_length", int)
    positions = want(folder / CONFIG, config, "max_position_embeddings", int)
    kind = str(config.get("model_type"))
    return positions - 2 if "roberta" in kind or kind == "mpnet" else positions


def _refuse_more_layers(modules: Path) -> None:
    """Refuse a model with a layer after its pooling: without it, vectors would not be those its authors meant."""
    listed = read_json(modules, list) if modules.is_file() else []
    kinds = [str(module.get("type")).rpartition(".")[2] for module in listed]
    other = [kind for kind in kinds if kind not in {"Transformer", "Pooling", "Normalize"}]
    if other:
        raise model_missing(f"{modules} has layers that are not supported: {', '.join(other)}")


def _prompts(path: Path) -> Mapping[str, str]:
    return (read_json(path).get("prompts") or {}) if path.is_file() else {}


def read_json(path: Path, kind: type = dict) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise model_missing(f"{path} cannot be read: {error}") from error
    if not isinstance(found, kind):
        raise model_missing(f"{path} must be a JSON {'object' if kind is dict else 'list'}")
    return found


def want(path: Path, given: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind:
    """A field of the wanted type; a number must be 1 or more. Raises `ModelMissing` naming file, field and value."""
    value = given.get(name)
    if not isinstance(value, kind) or (kind is int and (value is True or value < 1)):  # type: ignore[operator]
        raise model_missing(f"{path}: {name} is {value!r}, and must be {kind.__name__}")
    return value
