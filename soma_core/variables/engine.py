"""The engine itself: where it is, what it speaks, what it reads with."""

from __future__ import annotations

from collections.abc import Mapping

from soma_core.domain.languages import AUTO, NONE, STEMMED
from soma_core.domain.validation import check_choice, check_namespace
from soma_core.setting_values import (
    parse_folder,
    parse_size,
    renamed,
)
from soma_core.variables.setting import Setting

LANGUAGES = (*STEMMED, AUTO, NONE)

ENGINE: Mapping[str, Setting] = {
    "SOMA_HOME": Setting(
        "home",
        None,
        "The data folder. Default: the platform's folder for user data.",
        lambda name, value: parse_folder(name, value),
    ),
    "SOMA_MEMORY_NAMESPACE": Setting(
        "namespace",
        "api_ns",
        "The namespace that calls are in: memories of one namespace are never seen from another.",
        lambda name, value: renamed(name, check_namespace, value),
    ),
    "SOMA_LANGUAGE": Setting(
        "language",
        "english",
        "The language whose stems and stop words the search by words uses: " + ", ".join(STEMMED) + "; `auto` takes "
        "each text's own, `none` takes words as they are written. A change rebuilds the index from the records.",
        lambda name, value: check_choice(name, value.strip().lower(), LANGUAGES),
    ),
    "SOMA_SPARSE_MODEL": Setting(
        "sparse_model",
        None,
        "A folder with a SPLADE model (model.onnx, tokenizer.json, config.json): a third search, by words that a text "
        "is about. A change rebuilds the index from the records. Default: none.",
        lambda name, value: parse_folder(name, value),
    ),
    "SOMA_RERANKER_MODEL": Setting(
        "reranker_model",
        None,
        "A folder with a cross-encoder (model.onnx, tokenizer.json, config.json) that reads the question beside each "
        "of the best 30 memories and lifts those that answer it. Default: none.",
        lambda name, value: str(parse_folder(name, value)),
    ),
    "SOMA_DISK_RESERVE": Setting(
        "disk_reserve",
        "256MB",
        "Free space that is left alone: below it stores are refused and indexing pauses.",
        parse_size,
    ),
}
