"""What answers look like: the shapes of the OpenAPI document, and how they are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from soma_core.domain.memory import Memory, numbers
from soma_core.domain.query import Alike as Folded
from soma_core.domain.query import Hit, Parts, Recall
from soma_core.domain.receipts import StoreReceipt
from soma_core.domain.relevance import Relevance
from soma_core.engine import Status
from soma_mcp.tools.answers import MemoryAnswer, PartsAnswer, beside_hits, describe, parts_of, stamp
from soma_mcp.tools.receipts import StoreAnswer, describe_stored


class MemoryBody(MemoryAnswer):
    """A memory in full."""

    created_at: str
    position: int | None


class Alike(TypedDict):
    """A memory that says the same as a match, and stands behind it."""

    id: str
    version: int
    occurred_at: str


class Found(MemoryBody):
    """A memory with its score taken apart."""

    parts: PartsAnswer
    cut: bool
    alike: NotRequired[list[Alike]]


class Match(BaseModel):
    """The fields of the payload and, beside them, these; `text` is there also when the payload has none."""

    model_config = ConfigDict(extra="allow")

    id: str
    score: float
    coord: str | None
    memory: Found


class Scored(TypedDict):
    payload: dict[str, Any]
    score: float
    id: str
    coord: str | None
    memory: Found


class Error(TypedDict):
    code: str
    message: str
    fields: list[str]
    request_id: str


class ErrorBody(TypedDict):
    """Every error."""

    error: Error


class ItemError(TypedDict):
    code: str
    message: str
    fields: list[str]


class Stored(StoreAnswer):
    ok: Literal[True]


class BulkResult(TypedDict, total=False):
    ok: bool
    id: str
    version: int
    status: str
    indexed: str
    error: ItemError


class BulkStored(TypedDict):
    stored: int
    results: list[BulkResult]


class Recalled(TypedDict):
    matches: list[Match]
    degraded: list[str]
    omitted: int
    tokens: int
    relevance: Relevance
    seen: int
    cursor: str


class Batches(TypedDict):
    batches: list[list[Match]]
    degraded: list[list[str]]


class ScoredResults(TypedDict):
    results: list[Scored]
    degraded: list[str]


class Results(TypedDict):
    results: list[Match]
    degraded: list[str]


class KeywordResults(TypedDict):
    results: list[Match]


class RangeBody(TypedDict):
    coords: list[list[float]]
    memories: list[MemoryBody]


class PageBody(TypedDict):
    memories: list[MemoryBody]
    next_cursor: str | None


class PendingBody(TypedDict):
    words: int
    vectors: int
    oldest: str | None


class ModelBody(TypedDict):
    id: str
    ready: bool


class StatsBody(TypedDict):
    total_memories: int
    episodic: int
    semantic: int
    procedural: int
    forgotten: int
    purged: int
    pending: PendingBody
    model: ModelBody
    health: list[str]
    version: str
    namespace: str


class RefusedLine(ItemError):
    line: int


class ImportedBody(TypedDict):
    stored: int
    refused: list[RefusedLine]


def memory_body(memory: Memory) -> MemoryBody:
    """A memory in full."""
    return {**describe(memory), "created_at": stamp(memory.created_at), "position": memory.position}


def match_of(memory: Memory, parts: Parts, cut: bool = False, alike: Sequence[Folded] = ()) -> dict[str, Any]:
    """The payload's fields, as callers have always got them, and the memory beside them."""
    named: dict[str, Any] = {"text": memory.text, **memory.payload}
    named |= {"id": str(memory.id), "score": parts.total, "coord": memory.coordinate}
    shown: dict[str, Any] = {**memory_body(memory), "parts": parts_of(parts), "cut": cut}
    if alike:
        shown["alike"] = [
            {"id": str(each.id), "version": each.version, "occurred_at": stamp(each.occurred_at)} for each in alike
        ]
    return {**named, "memory": shown}


def match_hit(hit: Hit) -> dict[str, Any]:
    """A hit of a recall."""
    return match_of(hit.memory, hit.parts, hit.cut, hit.alike)


def match_term(memory: Memory) -> dict[str, Any]:
    """A memory that holds a term: it does or does not."""
    return match_of(memory, Parts(dense=0.0, lexical=1.0, total=1.0))


def scored(hit: Hit) -> Scored:
    """A hit with its payload apart."""
    match = match_hit(hit)
    return {
        "payload": {"text": hit.memory.text, **hit.memory.payload},
        "score": hit.score,
        "id": match["id"],
        "coord": match["coord"],
        "memory": match["memory"],
    }


def recalled(found: Recall) -> dict[str, Any]:
    """An answer."""
    return {"matches": [match_hit(hit) for hit in found.hits], **beside_hits(found)}


def stored(receipt: StoreReceipt) -> Stored:
    """A receipt."""
    return {"ok": True, **describe_stored(receipt)}


def bulk_result(receipt: StoreReceipt) -> BulkResult:
    """The receipt of one of many."""
    shown = describe_stored(receipt)
    return {
        "ok": True,
        "id": shown["id"],
        "version": shown["version"],
        "status": shown["status"],
        "indexed": shown["indexed"],
    }


def range_body(memories: Iterable[Memory]) -> RangeBody:
    """The memories of a range, and their coordinates as callers have always got them."""
    found = list(memories)
    return {
        "coords": [numbers(memory.coordinate or "") for memory in found],
        "memories": [memory_body(memory) for memory in found],
    }


def stats_body(status: Status) -> StatsBody:
    """How the memory of a namespace stands."""
    oldest = stamp(status.pending_oldest) if status.pending_oldest else None
    return {
        "total_memories": status.live,
        "episodic": status.types.get("episodic", 0),
        "semantic": status.types.get("semantic", 0),
        "procedural": status.types.get("procedural", 0),
        "forgotten": status.forgotten,
        "purged": status.purged,
        "pending": {"words": status.pending_words, "vectors": status.pending_vectors, "oldest": oldest},
        "model": {"id": status.model, "ready": status.model_ready},
        "health": status.health,
        "version": status.version,
        "namespace": status.namespace,
    }
