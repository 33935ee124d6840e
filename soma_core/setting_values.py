"""From the text of a variable to its value; errors name the variable and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from soma_core.domain.errors import InvalidInput
from soma_core.domain.validation import check_choice, check_integer, check_number, check_string, invalid

UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def parse_size(name: str, value: str) -> int:
    match = re.fullmatch(r"(\d{1,15})\s*([KMG]?B)?", value.strip().upper())
    if not match:
        raise invalid(name, f"is {value!r}, must be a size such as 256MB, 2GB or a number of bytes")
    return int(match[1]) * UNITS[match[2] or ""]


def parse_number(low: float, high: float) -> Callable[[str, str], float]:
    def parse(name: str, value: str) -> float:
        try:
            return check_number(name, float(value), low, high)
        except ValueError:
            raise invalid(name, f"is {value!r}, must be a number from {low:g} to {high:g}") from None

    return parse


def parse_integer(low: int, high: int) -> Callable[[str, str], int]:
    def parse(name: str, value: str) -> int:
        if not re.fullmatch(r"\s*-?\d{1,12}\s*", value):
            raise invalid(name, f"is {value!r}, must be a whole number from {low} to {high}")
        return check_integer(name, int(value), low, high)

    return parse


def parse_list(name: str, value: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", value) if part)


def parse_url(name: str, value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value.strip()):
        raise invalid(name, f"is {value!r}, must be an address such as https://soma.example.com")
    return value.strip().rstrip("/")


def parse_server_url(name: str, value: str) -> str:
    """An address without a user or a password, which is not shown when it has one."""
    if "@" in value:
        raise invalid(name, "must hold no user and no password: QDRANT_API_KEY is for the key")
    return parse_url(name, value)


def parse_base_url(name: str, value: str) -> str:
    """An address of an API. It is not shown where it may hold a secret."""
    if "@" in value or "?" in value or "#" in value:
        raise invalid(
            name, "must hold no user, no password and nothing after the path: SOMA_EMBEDDING_API_KEY is for the key"
        )
    found = parse_url(name, value)
    return found.removesuffix("/embeddings")


def parse_host(name: str, value: str) -> str:
    if not re.fullmatch(r"[\w.:-]{1,253}", value.strip()):
        raise invalid(name, f"is {value!r}, must be a host name or an address such as 10.0.0.7, without a port")
    return value.strip()


def parse_collection(name: str, value: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]{0,254}", value.strip()):
        raise invalid(name, f"is {value!r}, must have 1 to 255 letters, digits, _ - and dots")
    return value.strip()


def parse_database(name: str, value: str) -> str:
    if not re.fullmatch(r"postgres(ql)?://\S+", value.strip()):
        raise invalid(name, "must be an address such as postgresql://user:password@host:5432/database")
    return value.strip()


def parse_cache(name: str, value: str) -> str:
    if not re.fullmatch(r"(rediss?|unix)://\S+", value.strip()):
        raise invalid(name, "must be an address such as redis://user:password@host:6379/0, or rediss:// for TLS")
    return value.strip()


def parse_switch(name: str, value: str) -> bool:
    return check_choice(name, value.strip().lower(), ("true", "false")) == "true"


def parse_secret(name: str, value: str) -> str:
    if not 16 <= len(value.strip()) <= 4096:
        raise invalid(name, "must have 16 to 4,096 characters")
    return value.strip()


def parse_secret_file(name: str, value: str) -> str:
    return parse_secret(name, _content(name, value))


def parse_bearer(name: str, value: str) -> str:
    """A key as a header may hold it. It is never shown."""
    if not re.fullmatch(r"[!-~]{1,4096}", value.strip()):
        raise invalid(name, "must have 1 to 4,096 printable ASCII characters, without spaces")
    return value.strip()


def parse_bearer_file(name: str, value: str) -> str:
    return parse_bearer(name, _content(name, value))


def _content(name: str, value: str) -> str:
    path = parse_folder(name, value)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(name, f"{path} cannot be read: {error}") from None


def parse_folder(name: str, value: str) -> Path:
    try:
        return Path(check_string(name, value, max_chars=4096)).expanduser().absolute()
    except RuntimeError:
        raise invalid(name, f"is {value!r}, and there is no such user") from None


def renamed(name: str, check: Callable[[object], str], value: str) -> str:
    try:
        return check(value)
    except InvalidInput as error:
        raise invalid(name, error.message.partition(": ")[2]) from None


def parse_servers(name: str, value: str) -> str:
    """Hosts with ports, separated by commas and nothing else."""
    servers = parse_list(name, value)
    if not servers or not all(re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}", server) for server in servers):
        raise invalid(name, f"is {value!r}, must be host:port, or several separated by commas")
    return ",".join(servers)


def parse_prefix(name: str, value: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9._-]{0,100}", value.strip()):
        raise invalid(name, f"is {value!r}, may have up to 100 letters, digits, dots, _ and -")
    return value.strip()
