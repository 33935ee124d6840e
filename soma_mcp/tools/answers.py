"""What tools return: short text for the model, the same as structured content for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mcp_types import CallToolResult, TextContent
from typing_extensions import TypedDict

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import Memory, short_id
from soma_core.domain.query import Parts


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


def answer(text: str, structured: Mapping[str, Any]) -> CallToolResult:
    """A successful result."""
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=dict(structured))


def refusal(error: SomaError) -> CallToolResult:
    """A failure that the model can read and act on."""
    body = {"error": {"code": error.code, "message": error.message, "fields": list(error.fields)}}
    text = f"{error.code}: {error.message}"
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=body, is_error=True)


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


def line(memory: Memory) -> str:
    """A memory in one entry: when, where, short id, who, what."""
    where = f" in {memory.thread}" if memory.thread else ""
    tags = "".join(f" #{tag}" for tag in memory.tags)
    who = f"{memory.speaker}: " if memory.speaker else ""
    return f"[{short_id(memory.id)}] {memory.occurred_at:%Y-%m-%d}{where}{tags}\n{who}{memory.text}"


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the second where there is no fraction."""
    return moment.isoformat().replace("+00:00", "Z")


def compact(value: object) -> str:
    """JSON as text for a model."""
    return json.dumps(value, ensure_ascii=False)
