"""The domain's filters as conditions on the fields of points. Each engine has classes of its own for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from soma_core.adapters.qdrant.points import AT, CURRENT, LABELS, MEMORY, SCOPE, VERSION, label
from soma_core.domain.query import Filter


@dataclass(frozen=True, slots=True)
class Is:
    """The field is the value, or a list that holds it."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field is one of the values, or a list that holds one."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Below:
    """The field is a lower number."""

    field: str
    number: int


@dataclass(frozen=True, slots=True)
class During:
    """The field is a time from `since` on, up to but not including `until`; exact to the microsecond."""

    field: str
    since: datetime | None
    until: datetime | None


Condition = Is | OneOf | Below | During
IN_SCOPE = Is(SCOPE, CURRENT)


def searched(wanted: Filter) -> list[Condition]:
    """Current points that meet every condition of `wanted`."""
    conditions: list[Condition] = [IN_SCOPE, *(Is(LABELS, label("tag", tag)) for tag in wanted.tags)]
    if wanted.types:
        conditions.append(OneOf(LABELS, tuple(label("type", kind) for kind in wanted.types)))
    if wanted.thread is not None:
        conditions.append(Is(LABELS, label("thread", wanted.thread)))
    if wanted.speaker is not None:
        conditions.append(Is(LABELS, label("speaker", wanted.speaker)))
    if wanted.since or wanted.until:
        conditions.append(During(AT, wanted.since, wanted.until))
    return conditions


def below(memory_id: UUID, version: int) -> list[Condition]:
    """Every point of the memory's versions below `version`.

    Whatever a write may already have changed must not be a condition of it: after a crash it is done again.
    """
    return [Is(MEMORY, str(memory_id)), Below(VERSION, version)]
