"""Every setting: the only file that reads the environment.

Precedence: an argument, then the environment, then ``soma.toml`` in the data folder, then the default. The file holds
the same names as the environment, such as ``SOMA_LANGUAGE = "german"``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soma_core.domain.errors import InvalidInput
from soma_core.domain.languages import AUTO, NONE, STEMMED
from soma_core.domain.validation import (
    check_choice,
    check_namespace,
    check_string,
)
from soma_core.setting_values import (
    parse_collection,
    parse_database,
    parse_folder,
    parse_host,
    parse_integer,
    parse_list,
    parse_number,
    parse_secret,
    parse_secret_file,
    parse_server_url,
    parse_size,
    parse_switch,
    parse_url,
    renamed,
)

LANGUAGES = (*STEMMED, AUTO, NONE)


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its field in `Settings`, its default as written, what it does, and how it is checked."""

    field: str
    default: str | None
    doc: str
    parse: Callable[[str, str], Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process was told, checked."""

    home: Path
    namespace: str
    embedding_model: str | None
    language: str
    sparse_model: Path | None
    reranker_model: str | None
    disk_reserve: int
    """Bytes."""
    postgres_url: str | None
    """May hold a password: never shown."""
    postgres_pool_size: int
    migrate_on_start: bool
    url: str | None
    api_token: str | None
    host: str
    port: int
    workers: int
    keep_alive: float
    """Seconds."""
    shutdown: float
    """Seconds."""
    request_timeout: float
    """Seconds."""
    max_body: int
    """Bytes."""
    max_recalls: int
    rate_limit: int
    rate_window: float
    """Seconds."""
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    public_url: str | None
    oauth_issuer: str | None
    oauth_audience: str | None
    oauth_jwks_url: str | None
    oauth_namespace_claim: str
    log_format: str
    log_level: str
    traces: bool
    qdrant_url: str | None
    qdrant_host: str | None
    qdrant_port: int
    qdrant_grpc_port: int | None
    qdrant_collection: str
    qdrant_api_key: str | None


VARIABLES: Mapping[str, Setting] = {
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
    "SOMA_EMBEDDING_MODEL": Setting(
        "embedding_model",
        None,
        "Where the embedding model comes from: a folder, or an organisation/name on the model hub. "
        "Default: the model that is packaged with Soma.",
        lambda name, value: check_string(name, value, max_chars=4096),
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
    "POSTGRES_URL": Setting(
        "postgres_url",
        None,
        "Where the records are, instead of a file in the data folder: postgresql://user:password@host:5432/database, "
        "with the options of libpq such as ?sslmode=verify-full. Needs the extra `server`.",
        parse_database,
    ),
    "POSTGRES_POOL_SIZE": Setting(
        "postgres_pool_size",
        "10",
        "The most connections to Postgres that a process keeps; at most half of them write at once.",
        parse_integer(1, 1_000),
    ),
    "SOMA_MIGRATE_ON_START": Setting(
        "migrate_on_start",
        "false",
        "Whether the tables in Postgres are made, or brought to the present schema, at start; otherwise "
        "`soma migrate` does it.",
        parse_switch,
    ),
    "SOMA_URL": Setting(
        "url", None, "The address of a Soma server: commands and `soma mcp` work on its memory.", parse_url
    ),
    "SOMA_API_TOKEN": Setting(
        "api_token",
        None,
        "The token that callers of `soma serve` must bring; it may do everything in the namespace of the server. "
        "With SOMA_URL the token that is brought.",
        parse_secret,
    ),
    "SOMA_API_TOKEN_FILE": Setting(
        "api_token", None, "A file that holds the token; SOMA_API_TOKEN goes first.", parse_secret_file
    ),
    "UVICORN_HOST": Setting(
        "host",
        "127.0.0.1",
        "The address `soma serve` listens on. Any other than a loopback address needs a token.",
        lambda name, value: check_string(name, value.strip(), max_chars=256),
    ),
    "UVICORN_PORT": Setting("port", "9595", "The port it listens on.", parse_integer(0, 65_535)),
    "UVICORN_WORKERS": Setting(
        "workers", "1", "How many processes serve. On a data folder there can be only one.", parse_integer(1, 64)
    ),
    "UVICORN_TIMEOUT_KEEP_ALIVE": Setting(
        "keep_alive", "5", "Seconds an idle connection is kept.", parse_number(1, 3_600)
    ),
    "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": Setting(
        "shutdown",
        "10",
        "Seconds that requests at work get to finish when the server is told to end.",
        parse_number(0, 3_600),
    ),
    "SOMA_REQUEST_TIMEOUT_SECONDS": Setting(
        "request_timeout",
        "30",
        "Seconds until a request that is still at work is answered with `unavailable`. Exports and imports may take "
        "longer.",
        parse_number(0.1, 3_600),
    ),
    "SOMA_MAX_REQUEST_BODY_MB": Setting(
        "max_body",
        "16",
        "The largest body of a request, in MB; an import may be larger.",
        lambda name, value: int(parse_number(0.001, 10_240)(name, value) * (1 << 20)),
    ),
    "SOMA_MAX_RECALLS": Setting(
        "max_recalls",
        "16",
        "How many recalls may be at work at once; others wait a moment, then get `overloaded`.",
        parse_integer(1, 1_024),
    ),
    "SOMA_RATE_LIMIT_MAX": Setting(
        "rate_limit",
        "6000",
        "How many requests of one kind (reads, writes, recalls) a caller may make in a window; 0 sets no limit.",
        parse_integer(0, 1_000_000_000),
    ),
    "SOMA_RATE_LIMIT_WINDOW_SECONDS": Setting(
        "rate_window", "60", "The window of the rate limit.", parse_number(0.1, 86_400)
    ),
    "SOMA_ALLOWED_HOSTS": Setting(
        "allowed_hosts",
        "",
        "Host names, besides loopback ones and that of SOMA_PUBLIC_URL, under which requests may come; * is any. "
        "Only checked while no token is needed.",
        parse_list,
    ),
    "SOMA_CORS_ORIGINS": Setting(
        "cors_origins", "", "Origins whose web pages may call the server, separated by commas.", parse_list
    ),
    "SOMA_PUBLIC_URL": Setting(
        "public_url", None, "The address under which clients reach the server; names the resource in OAuth.", parse_url
    ),
    "SOMA_OAUTH_ISSUER": Setting(
        "oauth_issuer", None, "The authorization server whose JWTs are taken at /mcp and the HTTP API.", parse_url
    ),
    "SOMA_OAUTH_AUDIENCE": Setting(
        "oauth_audience",
        None,
        "The audience that a JWT must name. Default: SOMA_PUBLIC_URL with /mcp.",
        lambda name, value: check_string(name, value, max_chars=2_048),
    ),
    "SOMA_OAUTH_JWKS_URL": Setting("oauth_jwks_url", None, "Where the issuer's keys are (JWKS).", parse_url),
    "SOMA_OAUTH_NAMESPACE_CLAIM": Setting(
        "oauth_namespace_claim",
        "soma_namespace",
        "The claim of a JWT that names its namespace. A JWT without it is refused.",
        lambda name, value: check_string(name, value, max_chars=256),
    ),
    "SOMA_LOG_FORMAT": Setting(
        "log_format",
        "console",
        "How `soma serve` writes its log: console or json.",
        lambda name, value: check_choice(name, value.strip().lower(), ("console", "json")),
    ),
    "SOMA_LOG_LEVEL": Setting(
        "log_level",
        "info",
        "The least that it writes: debug, info, warning or error.",
        lambda name, value: check_choice(name, value.strip().lower(), ("debug", "info", "warning", "error")),
    ),
    "SOMA_TRACES": Setting(
        "traces",
        "false",
        "Whether `soma serve` sends OpenTelemetry traces (the extra `otel`); OTEL_EXPORTER_OTLP_ENDPOINT says where.",
        parse_switch,
    ),
    "QDRANT_URL": Setting(
        "qdrant_url",
        None,
        "The address of a Qdrant server, 1.19 or newer: the index is then kept there (docs/qdrant.md).",
        parse_server_url,
    ),
    "QDRANT_HOST": Setting(
        "qdrant_host", None, "The same by host, over plain HTTP; QDRANT_URL goes first.", parse_host
    ),
    "QDRANT_PORT": Setting("qdrant_port", "6333", "Its port for REST, with QDRANT_HOST.", parse_integer(1, 65_535)),
    "QDRANT_GRPC_PORT": Setting(
        "qdrant_grpc_port",
        None,
        "Its port for gRPC, which is used where the server answers there. Default: 6334 where the other is 6333.",
        parse_integer(1, 65_535),
    ),
    "QDRANT_COLLECTION": Setting(
        "qdrant_collection", "api_ns", "The collection there; it is made where there is none.", parse_collection
    ),
    "QDRANT_API_KEY": Setting(
        "qdrant_api_key",
        None,
        "The key that the server wants.",
        lambda name, value: check_string(name, value.strip(), max_chars=4_096),
    ),
}


def load_settings(environment: Mapping[str, str] | None = None, **arguments: str | Path | None) -> Settings:
    """Read the settings; `arguments` are fields of `Settings` as text and go first.

    Raises `InvalidInput` naming the variable, or the file and the variable.
    """
    unknown = arguments.keys() - {v.field for v in VARIABLES.values()}
    if unknown:
        raise TypeError(f"no setting has the name {', '.join(sorted(unknown))}")
    environment = os.environ if environment is None else environment
    given = {name: str(arguments[v.field]) for name, v in VARIABLES.items() if arguments.get(v.field) is not None}
    given = {name: value for name in VARIABLES if (value := environment.get(name))} | given
    home = _value("SOMA_HOME", given.get("SOMA_HOME") or str(_default_home()))
    given = _read_file(home / "soma.toml") | given
    values: dict[str, Any] = {}
    for name, v in VARIABLES.items():
        if values.get(v.field) is None:
            values[v.field] = _value(name, given.get(name, v.default))
    return Settings(**values | {"home": home})


def hand_down(**arguments: str | Path) -> None:
    """Put fields of `Settings` into the environment, for a process that this one starts."""
    fields = {setting.field: name for name, setting in VARIABLES.items()}
    for field, value in arguments.items():
        os.environ[fields[field]] = str(value)


def _value(name: str, text: str | None) -> Any:
    return None if text is None else VARIABLES[name].parse(name, text)


def _read_file(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: {error}", fields=(str(path),)) from error
    unknown = sorted(found.keys() - (VARIABLES.keys() - {"SOMA_HOME"}))
    if unknown:
        allowed = ", ".join(name for name in VARIABLES if name != "SOMA_HOME")
        raise InvalidInput(f"{path}: unknown {', '.join(unknown)}; it may hold {allowed}", fields=tuple(unknown))
    return {name: str(value) for name, value in found.items()}


def _default_home() -> Path:
    from platformdirs import user_data_path  # kept out of the start-up of those who set SOMA_HOME

    return user_data_path("soma", appauthor=False)
