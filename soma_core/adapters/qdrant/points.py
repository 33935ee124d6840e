"""How a passage is laid out as a point of Qdrant: its id, its payload, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from soma_core.domain.memory import ID_SPACE
from soma_core.ports.index import IndexPoint, Match

DENSE = "dense"
WORDS = "words"
LEARNED = "learned"

MEMORY = "memory"
VERSION = "version"
PASSAGE = "passage"
SCOPE = "scope"
LABELS = "labels"
AT = "at"
KEY = [MEMORY, VERSION, PASSAGE]

CURRENT = "current"
OLD = "old"


KIND = 76
"""The lowest of the four bits that say which kind of UUID one is."""
TIMED = 7
"""What they say in the id of most memories, a UUIDv7."""


def point_id(memory_id: UUID, version: int, passage: int) -> UUID:
    """The id of a point, which never changes.

    For the first passages of the first version of a memory with a UUIDv7 it is that id, the passage added to the four
    bits that say 7, so that it tells what it stands for. For all others it is a UUIDv5 of that.
    """
    if memory_id.int >> KIND & 15 == TIMED and version == 1 and TIMED + passage <= 15:
        return UUID(int=memory_id.int + (passage << KIND))
    return uuid5(ID_SPACE, f"point\0{memory_id}\0{version}\0{passage}")


def scope(current: bool) -> str:
    return CURRENT if current else OLD


def label(kind: str, value: str) -> str:
    """One filter value: the kinds `type`, `tag`, `thread` and `speaker` share one field, `labels`.

    An index over a payload field takes 5 MB of every open namespace, however small that is; one does for all four.
    """
    return f"{kind}={value}"


def payload(point: IndexPoint) -> dict[str, Any]:
    """What is kept beside the vectors: filter fields and numbers, never text."""
    return {
        MEMORY: str(point.memory_id),
        VERSION: point.version,
        PASSAGE: point.passage,
        SCOPE: scope(point.current),
        LABELS: _labels(point),
        AT: point.occurred_at.isoformat(),
    }


def _labels(point: IndexPoint) -> list[str]:
    labels = [label("type", point.type), *(label("tag", tag) for tag in point.tags)]
    if point.thread is not None:
        labels.append(label("thread", point.thread))
    if point.speaker is not None:
        labels.append(label("speaker", point.speaker))
    return labels


def match(found: Mapping[str, Any], score: float) -> Match:
    """A found point, from the part of its payload that `KEY` names."""
    return Match(UUID(found[MEMORY]).int, found[VERSION], found[PASSAGE], score)
