"""Where vectors come from."""

from __future__ import annotations

from collections.abc import Mapping

from soma_core.domain.validation import check_choice, check_string
from soma_core.setting_values import (
    parse_base_url,
    parse_bearer,
    parse_bearer_file,
    parse_integer,
    parse_number,
)
from soma_core.variables.setting import Setting

BACKENDS = ("onnx", "transformers", "remote")

EMBEDDING: Mapping[str, Setting] = {
    "SOMA_EMBEDDING_BACKEND": Setting(
        "embedding_backend",
        "onnx",
        "What embeds: `onnx` in this process, `transformers` any model of sentence-transformers (the extra "
        "`transformers`), `remote` an OpenAI-compatible endpoint (docs/embedding.md).",
        lambda name, value: check_choice(name, value.strip().lower(), BACKENDS),
    ),
    "SOMA_EMBEDDING_MODEL": Setting(
        "embedding_model",
        None,
        "Where the embedding model comes from: a folder, or an organisation/name on the model hub; with `remote` its "
        "name there. Default: the model that is packaged with Soma, for `onnx`.",
        lambda name, value: check_string(name, value, max_chars=4096),
    ),
    "SOMA_EMBEDDING_URL": Setting(
        "embedding_url",
        None,
        "With `remote`: the base address of the API, such as https://api.openai.com/v1; texts go to /embeddings there.",
        parse_base_url,
    ),
    "SOMA_EMBEDDING_API_KEY": Setting("embedding_key", None, "The key that it wants, if any.", parse_bearer),
    "SOMA_EMBEDDING_API_KEY_FILE": Setting(
        "embedding_key", None, "A file that holds the key; SOMA_EMBEDDING_API_KEY goes first.", parse_bearer_file
    ),
    "SOMA_EMBEDDING_DIMENSIONS": Setting(
        "embedding_dimensions",
        None,
        "With `remote`: the length of the vectors. Shorter ones than the model's own are asked for. With it Soma also "
        "starts while the endpoint is away. Default: what the endpoint gives.",
        parse_integer(1, 65_536),
    ),
    "SOMA_EMBEDDING_TIMEOUT_SECONDS": Setting(
        "embedding_timeout",
        "30",
        "With `remote`: seconds for the answer to a request of passages; a question has 5, then words must do.",
        parse_number(0.1, 3_600),
    ),
    "SOMA_EMBEDDING_BATCH": Setting(
        "embedding_batch",
        "32",
        "With `remote`: the most texts of a request. More than the endpoint takes are sent again in halves.",
        parse_integer(1, 2_048),
    ),
    "SOMA_EMBEDDING_THREADS": Setting(
        "embedding_threads",
        None,
        "With `onnx`: how many texts are embedded at once; 1 where as many indexers as processors share a machine. "
        "Default: as many as the process may use processors, at most 4.",
        parse_integer(1, 256),
    ),
}
