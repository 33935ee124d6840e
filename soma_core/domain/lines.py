"""Memories as JSON lines: what a bulk load reads."""

from __future__ import annotations

import json
from typing import Any

from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import NewMemory
from soma_core.domain.validation import invalid, printable

FIELDS = ("text", "type", "tags", "thread", "speaker", "occurred_at", "coordinate", "importance", "payload")
MADE = ("id", "version", "recorded_at", "created_at", "position")
"""Fields that Soma makes itself: an export has them, and they are passed over when it is read again."""
MAX_LINE_BYTES = 1 << 20


def parse_line(data: bytes) -> NewMemory:
    """The memory that one line describes. Raises `InvalidInput`."""
    if len(data) > MAX_LINE_BYTES:
        raise invalid("line", f"has over {MAX_LINE_BYTES} bytes (1 MB), the most that are allowed")
    found = _object(data)
    unknown = [printable(name) for name in sorted(found.keys() - {*FIELDS, *MADE})]
    if unknown:
        message = f"{', '.join(unknown)}: unknown field; a line may have {', '.join(FIELDS)}"
        raise InvalidInput(message, fields=unknown)
    given = {name: value for name, value in found.items() if name in FIELDS}
    return NewMemory.parse(given.pop("text", None), **given)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise invalid("line", f"is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from None
    except RecursionError:
        raise invalid("line", "nests too deep") from None
    except ValueError as error:
        raise invalid("line", f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid("line", "must be a JSON object")
    return found
