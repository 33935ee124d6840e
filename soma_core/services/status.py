"""How a memory stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Status:
    """How the memory of a namespace stands."""

    namespace: str
    live: int
    forgotten: int
    purged: int
    types: dict[str, int]
    pending_words: int
    """Events whose words are not in the index yet."""
    pending_vectors: int
    """Events whose vectors are not."""
    pending_oldest: datetime | None
    """When the oldest of these was recorded."""
    model: str
    model_ready: bool
    health: list[str]
    """What an operator should know; empty when all is well."""
    version: str
