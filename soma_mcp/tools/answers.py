"""What reading comes to as structured content.

This and `receipts` import no protocol library: commands use them too, and would start half as fast with it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, NotRequired, cast

from typing_extensions import TypedDict

from soma_core.domain.memory import Memory
from soma_core.domain.query import Hit, Page, Parts, Recall


class BriefAnswer(TypedDict):
    """A memory as an answer shows it."""

    id: str
    text: str
    type: str
    occurred_at: str
    speaker: str | None
    thread: str | None
    tags: list[str]


class MemoryAnswer(BriefAnswer):
    """A memory in full."""

    version: int
    recorded_at: str
    coordinate: str | None
    importance: float
    payload: dict[str, Any]


class PartsAnswer(TypedDict):
    """A score taken apart: `total` is the sum of the others."""

    dense: float
    lexical: float
    structure: float
    boosts: float
    importance: float
    recency: float
    total: float


def brief(memory: Memory) -> BriefAnswer:
    """A memory as structured content, as far as an answer shows it."""
    return {
        "id": str(memory.id),
        "text": memory.text,
        "type": memory.type.value,
        "occurred_at": stamp(memory.occurred_at),
        "speaker": memory.speaker,
        "thread": memory.thread,
        "tags": list(memory.tags),
    }


def describe(memory: Memory) -> MemoryAnswer:
    """A memory in full as structured content."""
    return {
        **brief(memory),
        "version": memory.version,
        "recorded_at": stamp(memory.recorded_at),
        "coordinate": memory.coordinate,
        "importance": memory.importance,
        "payload": memory.payload,
    }


def parts_of(parts: Parts) -> PartsAnswer:
    """A score as structured content."""
    return {
        "dense": parts.dense,
        "lexical": parts.lexical,
        "structure": parts.structure,
        "boosts": parts.boosts,
        "importance": parts.importance,
        "recency": parts.recency,
        "total": parts.total,
    }


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the second where there is no fraction."""
    return moment.isoformat().replace("+00:00", "Z")


def compact(value: object) -> str:
    """JSON as text for a model."""
    return json.dumps(value, ensure_ascii=False)


class BrowseAnswer(TypedDict):
    memories: list[MemoryAnswer]
    next_cursor: str | None


def describe_page(page: Page) -> BrowseAnswer:
    """A page as structured content."""
    return {"memories": [describe(memory) for memory in page.memories], "next_cursor": page.next_cursor}


class HitAnswer(BriefAnswer):
    score: float
    parts: PartsAnswer
    cut: bool
    alike: NotRequired[list[str]]


class _Named:
    """In a schema, a hit by the names of its fields. To check their types took a client as long as a search takes."""

    def __get_pydantic_json_schema__(self, *_: object) -> dict[str, object]:
        return {"type": "object", "required": sorted(HitAnswer.__annotations__.keys() - {"alike"})}


class RecallAnswer(TypedDict):
    hits: list[Annotated[HitAnswer, _Named()]]
    degraded: list[str]
    omitted: int
    tokens: int
    relevance: str
    seen: int
    cursor: str


def describe_recall(found: Recall) -> RecallAnswer:
    """An answer as structured content."""
    return cast("RecallAnswer", {"hits": [_hit(hit) for hit in found.hits], **beside_hits(found)})


def beside_hits(found: Recall) -> dict[str, Any]:
    """What an answer says besides its hits."""
    return {
        "degraded": list(found.degraded),
        "omitted": found.omitted,
        "tokens": found.tokens,
        "relevance": found.relevance,
        "seen": found.seen,
        "cursor": found.cursor,
    }


def _hit(hit: Hit) -> HitAnswer:
    shown = {**brief(hit.memory), "score": hit.score, "parts": parts_of(hit.parts), "cut": hit.cut}
    if hit.alike:
        shown["alike"] = [str(each.id) for each in hit.alike]
    return cast("HitAnswer", shown)
