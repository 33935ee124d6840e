"""The domain's filters as Qdrant Edge's."""

from __future__ import annotations

from uuid import UUID

import qdrant_edge as edge

from soma_core.adapters.qdrant.points import AT, CURRENT, LABELS, MEMORY, SCOPE, VERSION, label
from soma_core.domain.query import Filter


def searched(wanted: Filter) -> edge.Filter:
    """Current points that meet every condition of `wanted`."""
    conditions = [_is(SCOPE, CURRENT), *(_is(LABELS, label("tag", tag)) for tag in wanted.tags)]
    if wanted.types:
        conditions.append(edge.FieldCondition(LABELS, match=edge.MatchAny([label("type", t) for t in wanted.types])))
    if wanted.thread is not None:
        conditions.append(_is(LABELS, label("thread", wanted.thread)))
    if wanted.speaker is not None:
        conditions.append(_is(LABELS, label("speaker", wanted.speaker)))
    if wanted.since or wanted.until:
        conditions.append(edge.FieldCondition(AT, range=_period(wanted)))
    return edge.Filter(must=[*conditions])


def below(memory_id: UUID, version: int) -> edge.Filter:
    """Every point of the memory's versions below `version`.

    Whatever a write may already have changed must not be a condition of it: after a crash it is done again.
    """
    return edge.Filter(must=[_is(MEMORY, str(memory_id)), _less(VERSION, version)])


def _is(field: str, value: str) -> edge.FieldCondition:
    return edge.FieldCondition(field, match=edge.MatchValue(value))


def _less(field: str, value: int) -> edge.FieldCondition:
    return edge.FieldCondition(field, range=edge.RangeFloat(lt=value))


def _period(wanted: Filter) -> edge.RangeDateTime:
    """From `since` on, up to but not including `until`; exact to the microsecond."""
    return edge.RangeDateTime(
        gte=wanted.since.isoformat() if wanted.since else None,
        lt=wanted.until.isoformat() if wanted.until else None,
    )
