"""Every setting: the only file that reads the environment.

Precedence: an argument, then the environment, then ``soma.toml`` in the data folder, then the default. The file holds
the same names as the environment, such as ``SOMA_LANGUAGE = "german"``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soma_core.domain.errors import InvalidInput
from soma_core.domain.validation import check_choice, check_namespace, check_string, invalid

LANGUAGES = (
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian",
    "norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
)  # fmt: skip

_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


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
    disk_reserve: int
    """Bytes."""


def _parse_size(name: str, value: str) -> int:
    match = re.fullmatch(r"(\d{1,15})\s*([KMG]?B)?", value.strip().upper())
    if not match:
        raise invalid(name, f"is {value!r}, must be a size such as 256MB, 2GB or a number of bytes")
    return int(match[1]) * _UNITS[match[2] or ""]


def _parse_folder(name: str, value: str) -> Path:
    try:
        return Path(check_string(name, value, max_chars=4096)).expanduser().absolute()
    except RuntimeError:
        raise invalid(name, f"is {value!r}, and there is no such user") from None


VARIABLES: Mapping[str, Setting] = {
    "SOMA_HOME": Setting(
        "home",
        None,
        "The data folder. Default: the platform's folder for user data.",
        lambda name, value: _parse_folder(name, value),
    ),
    "SOMA_MEMORY_NAMESPACE": Setting(
        "namespace",
        "api_ns",
        "The namespace that calls are in: memories of one namespace are never seen from another.",
        lambda name, value: _renamed(name, check_namespace, value),
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
        "The language whose stems and stop words the search by words knows: " + ", ".join(LANGUAGES) + ".",
        lambda name, value: check_choice(name, value.strip().lower(), LANGUAGES),
    ),
    "SOMA_DISK_RESERVE": Setting(
        "disk_reserve",
        "256MB",
        "Free space that is left alone: below it stores are refused and indexing pauses.",
        _parse_size,
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
    values = {v.field: _value(name, given.get(name, v.default)) for name, v in VARIABLES.items()}
    return Settings(**values | {"home": home})


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


def _renamed(name: str, check: Callable[[object], str], value: str) -> str:
    try:
        return check(value)
    except InvalidInput as error:
        raise invalid(name, error.message.partition(": ")[2]) from None
