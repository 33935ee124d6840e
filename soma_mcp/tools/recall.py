"""The tool `recall`."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from pydantic import Field
from typing_extensions import TypedDict

from soma_core.domain.query import Filter, Recall, RecallQuery
from soma_core.engine import Soma
from soma_mcp.tools.answers import BriefAnswer, PartsAnswer, answer, brief, line, parts_of
from soma_mcp.tools.toolbox import Toolbox, make_tool


class HitAnswer(BriefAnswer):
    score: float
    parts: PartsAnswer
    cut: bool


class RecallAnswer(TypedDict):
    hits: list[HitAnswer]
    degraded: list[str]
    omitted: int
    tokens: int


def recall_tool(box: Toolbox) -> Tool:
    async def recall(
        query: Annotated[str, Field(description="A question or subject, in words")],
        limit: Annotated[int, Field(description="1 to 100")] = 10,
        types: Annotated[list[str] | None, Field(description="episodic, semantic, procedural")] = None,
        tags: Annotated[list[str] | None, Field(description="All of them")] = None,
        thread: str | None = None,
        speaker: str | None = None,
        since: Annotated[str | None, Field(description="ISO 8601, inclusive")] = None,
        until: Annotated[str | None, Field(description="ISO 8601; a date includes that day")] = None,
        order: Annotated[Any, Field(json_schema_extra={"enum": ["score", "time"]})] = "score",
        max_tokens: Annotated[int, Field(description="Budget for the texts")] = 2000,
    ) -> Annotated[CallToolResult, RecallAnswer]:
        """Search long-term memory by meaning and words: before answering from assumption, and when a task starts."""
        wanted = Filter.parse(types=types, tags=tags, thread=thread, speaker=speaker, since=since, until=until)
        question = RecallQuery.parse(query, limit=limit, order=order, max_tokens=max_tokens, filter=wanted)
        found = await box.call(Soma.recall, box.scope(), question)
        return answer(_shown(found), describe_recall(found))

    return make_tool(recall, read_only=True)


def describe_recall(found: Recall) -> RecallAnswer:
    """An answer as structured content."""
    hits: list[HitAnswer] = [
        {**brief(hit.memory), "score": hit.score, "parts": parts_of(hit.parts), "cut": hit.cut} for hit in found.hits
    ]
    return {"hits": hits, "degraded": list(found.degraded), "omitted": found.omitted, "tokens": found.tokens}


def _shown(found: Recall) -> str:
    entries = [line(hit.memory) + (" [cut]" if hit.cut else "") for hit in found.hits] or ["Nothing was found."]
    if found.omitted:
        entries.append(f"({found.omitted} more did not fit into max_tokens)")
    entries += [f"(degraded: {reason})" for reason in found.degraded]
    return "\n\n".join(entries)
