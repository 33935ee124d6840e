"""What one setting is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its field in `Settings`, its default as written, what it does, and how it is checked."""

    field: str
    default: str | None
    doc: str
    parse: Callable[[str, str], Any]
