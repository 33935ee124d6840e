"""Conditions as Qdrant Edge takes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import qdrant_edge as edge

from soma_core.adapters.qdrant.filters import Below, Condition, During, Is, OneOf


def edge_filter(conditions: Sequence[Condition]) -> edge.Filter:
    """Points that meet every condition."""
    return edge.Filter(must=[_condition(condition) for condition in conditions])


def _condition(condition: Condition) -> edge.FieldCondition:
    match condition:
        case Is(field, value):
            return edge.FieldCondition(field, match=edge.MatchValue(value))
        case OneOf(field, values):
            return edge.FieldCondition(field, match=edge.MatchAny(list(values)))
        case Below(field, number):
            return edge.FieldCondition(field, range=edge.RangeFloat(lt=number))
        case During(field, since, until):
            return edge.FieldCondition(field, range=edge.RangeDateTime(gte=_written(since), lt=_written(until)))


def _written(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
