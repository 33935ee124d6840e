"""What a field may hold. Every door (MCP, command line, files, sockets) checks through here."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from soma_core.domain.errors import InvalidInput

MAX_TEXT_BYTES = 65_536
MAX_PAYLOAD_BYTES = 65_536
MAX_PAYLOAD_DEPTH = 32
MAX_TAGS = 64
MAX_NAME = 256
MAX_NAMESPACE = 1_024
MAX_INTEGER = (1 << 63) - 1

_TYPE_NAMES = {
    "NoneType": "null", "dict": "object", "str": "string", "bool": "boolean", "int": "number", "float": "number",
}  # fmt: skip
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


def invalid(field: str, problem: str) -> InvalidInput:
    """An `InvalidInput` about one field, with the message ``field: problem``."""
    return InvalidInput(f"{field}: {problem}", fields=(field,))


def check_string(field: str, value: object, *, max_chars: int) -> str:
    """A string of 1 to `max_chars` characters that is not blank and holds no NUL and no lone surrogate."""
    text = _check_characters(field, value)
    if not text.strip():
        raise invalid(field, "must not be empty or blank")
    if len(text) > max_chars:
        raise invalid(field, f"has {len(text)} characters, at most {max_chars} are allowed")
    return text


def check_text(field: str, value: object) -> str:
    """A text of at most 64 KB in UTF-8 that is not blank."""
    text = _check_characters(field, value)
    if not text.strip():
        raise invalid(field, "must not be empty or only white space")
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise invalid(field, f"has {size} bytes, at most {MAX_TEXT_BYTES} (64 KB) are allowed: store it in parts")
    return text


def _check_characters(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise invalid(field, f"must be a string, not {_type_name(value)}")
    if found := _FORBIDDEN.search(value):
        raise invalid(
            field,
            f"holds the character U+{ord(found.group()):04X} at {found.start()}; "
            "NUL and lone surrogates are not allowed",
        )
    return value


def check_namespace(value: object) -> str:
    """A namespace: any string of 1 to 1,024 characters."""
    return check_string("namespace", value, max_chars=MAX_NAMESPACE)


def check_tags(value: object, field: str = "tags") -> tuple[str, ...]:
    """At most 64 tags, without repeats, in the order given."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise invalid(field, f"must be a list of strings, not {_type_name(value)}")
    tags = list(value)
    if len(tags) > MAX_TAGS:
        raise invalid(field, f"has {len(tags)} entries, at most {MAX_TAGS} are allowed")
    return tuple(dict.fromkeys(check_string(f"{field}[{i}]", tag, max_chars=MAX_NAME) for i, tag in enumerate(tags)))


def check_number(field: str, value: object, low: float, high: float) -> float:
    """A finite number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(field, f"must be a number from {low:g} to {high:g}, not {_type_name(value)}")
    if not low <= value <= high or math.isinf(value):
        raise invalid(field, f"is {_shown(value)}, must be from {low:g} to {high:g}")
    return float(value)


def check_integer(field: str, value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(field, f"must be a whole number from {low} to {high}, not {_type_name(value)}")
    if not low <= value <= high:
        raise invalid(field, f"is {_shown(value)}, must be from {low} to {high}")
    return value


def check_choice(field: str, value: object, allowed: Iterable[str]) -> str:
    """One of the `allowed` strings."""
    choices = list(allowed)
    if not isinstance(value, str) or value not in choices:
        raise invalid(field, f"is {_shown(value)}, must be one of {', '.join(choices)}")
    return value


def check_bool(field: str, value: object) -> bool:
    """True or false, nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise invalid(field, f"must be true or false, not {_type_name(value)}")
    return value


def check_time(field: str, value: object, *, end: bool = False) -> datetime:
    """An instant in UTC from ISO 8601; without a zone UTC is meant.

    A date alone means its first moment, or with `end` the first moment of the next day.
    """
    moment = value if isinstance(value, datetime) else _parse_time(field, value, end)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise invalid(field, f"is {_shown(value)}, must lie in the years 1 to 9999 UTC") from None


def _parse_time(field: str, value: object, end: bool) -> datetime:
    if not isinstance(value, str):
        raise invalid(field, f"must be an ISO 8601 date or time such as 2026-03-14T09:30:00Z, not {_type_name(value)}")
    text = value.strip()
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time()) + timedelta(days=int(end))
    except ValueError:
        pass  # no date alone
    except OverflowError:
        raise invalid(field, f"is {_shown(value)}, must lie in the years 1 to 9999 UTC") from None
    try:
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise invalid(
            field, f"is {_shown(value)}, must be an ISO 8601 date or time such as 2026-03-14 or 2026-03-14T09:30:00Z"
        ) from None


def check_payload(value: object) -> dict[str, Any]:
    """A JSON object of at most 64 KB that nests at most 32 deep."""
    if not isinstance(value, Mapping):
        raise invalid("payload", f"must be a JSON object, not {_type_name(value)}")
    size = _json_size("payload", value, 1)
    if size > MAX_PAYLOAD_BYTES:
        raise invalid("payload", f"has about {size} bytes as JSON, at most {MAX_PAYLOAD_BYTES} (64 KB) are allowed")
    return dict(cast("Mapping[str, Any]", value))


def check_json_characters(field: str, value: object) -> None:
    """Refuse NUL and lone surrogates, and deeper nesting than a payload may have, anywhere in a JSON value."""
    _json_size(field, value, 0)


def _json_size(path: str, value: object, depth: int) -> int:
    """About how many bytes `value` takes as JSON; refuses what is no JSON."""
    if depth > MAX_PAYLOAD_DEPTH:
        field = re.split(r"[.\[ ]", path)[0]
        raise invalid(field, f"nests deeper than the {MAX_PAYLOAD_DEPTH} levels that are allowed")
    if value is None or isinstance(value, bool):
        return 5
    if isinstance(value, int):
        return len(str(check_integer(path, value, -MAX_INTEGER, MAX_INTEGER)))
    if isinstance(value, str):
        return len(_check_characters(path, value).encode()) + 2
    if isinstance(value, float):
        return len(str(check_number(path, value, -sys.float_info.max, sys.float_info.max)))
    if isinstance(value, Mapping):
        keys = sum(len(_check_characters(f"{path} key", key).encode()) + 4 for key in value)
        return 2 + keys + sum(_json_size(f"{path}.{key}", item, depth + 1) for key, item in value.items())
    if isinstance(value, list | tuple):
        return 2 + sum(1 + _json_size(f"{path}[{i}]", item, depth + 1) for i, item in enumerate(value))
    raise invalid(path, f"must be JSON, not {_type_name(value)}")


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return f"a number of {value.bit_length()} bits"
    text = repr(value) if isinstance(value, str | int | float) else _type_name(value)
    return printable(text if len(text) <= 60 else text[:57] + "...")


def printable(text: str) -> str:
    """A caller's own words for use in a message, whatever characters they hold."""
    return text.encode("ascii", "backslashreplace").decode()


def _type_name(value: object) -> str:
    name = type(value).__name__
    return _TYPE_NAMES.get(name, name)
