"""The tool `recall`."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from pydantic import Field

from soma_core.domain.query import Filter, RecallQuery
from soma_core.engine import Soma
from soma_mcp.tools.answers import RecallAnswer, describe_recall
from soma_mcp.tools.results import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


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
        max_tokens: Annotated[int, Field(description="Budget for the answer")] = 2000,
        since_cursor: Annotated[str | None, Field(description="cursor of an answer: leave out what it showed")] = None,
    ) -> Annotated[CallToolResult, RecallAnswer]:
        """Search long-term memory by meaning and words: before answering from assumption, and when a task starts."""
        wanted = Filter.parse(types=types, tags=tags, thread=thread, speaker=speaker, since=since, until=until)
        question = RecallQuery.parse(
            query, limit=limit, order=order, max_tokens=max_tokens, filter=wanted, since_cursor=since_cursor
        )
        found = await box.call(Soma.recall, box.scope(), question)
        return answer(found.text, describe_recall(found))

    return make_tool(recall, read_only=True)
