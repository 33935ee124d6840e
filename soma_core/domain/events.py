"""What happened to a memory. Events never hold text: they stay as the audit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class EventKind(StrEnum):
    """Each makes a version of its memory."""

    STORED = "stored"
    REVISED = "revised"
    FORGOTTEN = "forgotten"
    PURGED = "purged"


REMOVALS = (EventKind.FORGOTTEN, EventKind.PURGED)
"""After these the memory is not in the index."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one memory."""

    offset: int
    """Its place in the log: larger than that of every event committed before."""
    namespace: str
    memory_id: UUID
    version: int
    kind: EventKind
    time: datetime
