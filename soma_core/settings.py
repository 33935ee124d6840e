"""Every setting, by the tables in `variables`: the only file that reads the environment.

Precedence: an argument, then the environment, then ``soma.toml`` in the data folder, then the default. The file holds
the same names as the environment, such as ``SOMA_LANGUAGE = "german"``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soma_core.domain.errors import InvalidInput
from soma_core.variables import VARIABLES

__all__ = ["VARIABLES", "Settings", "hand_down", "hand_on", "load_settings"]

ONE_CHOICE = {"QDRANT_URL": "qdrant", "QDRANT_HOST": "qdrant", "REDIS_URL": "redis", "REDIS_HOST": "redis"}
"""Variables that answer one question though they fill two fields: who is given one has no use for the file's other."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process was told, checked."""

    home: Path
    namespace: str
    embedding_backend: str
    embedding_model: str | None
    embedding_url: str | None
    embedding_key: str | None
    """Never shown."""
    embedding_dimensions: int | None
    embedding_timeout: float
    """Seconds."""
    embedding_batch: int
    embedding_threads: int | None
    """None: as many as this process may use processors, at most four."""
    language: str
    sparse_model: Path | None
    reranker_model: str | None
    disk_reserve: int
    """Bytes."""
    postgres_url: str | None
    """May hold a password: never shown."""
    postgres_pool_size: int
    migrate_on_start: bool
    redis_url: str | None
    """May hold a password: never shown."""
    redis_host: str | None
    redis_port: int
    redis_db: int
    url: str | None
    api_token: str | None
    host: str
    port: int
    workers: int
    keep_alive: int
    """Seconds."""
    shutdown: int
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
    kafka_bootstrap_servers: str | None
    kafka_security_protocol: str
    kafka_sasl_mechanism: str
    kafka_sasl_username: str | None
    kafka_sasl_password: str | None
    """Never shown."""
    kafka_ca: Path | None
    kafka_topic_prefix: str
    eventing_enabled: bool
    skip_schema_validation: bool

    @property
    def distributed(self) -> bool:
        """Whether records and index are both on servers: any number of processes may open the memory then."""
        return self.postgres_url is not None and (self.qdrant_url or self.qdrant_host) is not None

    @property
    def eventing(self) -> bool:
        """Whether changes travel through Kafka to indexers that run elsewhere."""
        return self.eventing_enabled and self.kafka_bootstrap_servers is not None


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
    answered = {ONE_CHOICE.get(name, VARIABLES[name].field) for name in given}
    file = _read_file(home / "soma.toml").items()
    given |= {name: value for name, value in file if ONE_CHOICE.get(name, VARIABLES[name].field) not in answered}
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


def hand_on(name: str, value: str) -> None:
    """Put what a library reads, and Soma does not, into the environment of the processes that this one starts."""
    os.environ[name] = value


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
