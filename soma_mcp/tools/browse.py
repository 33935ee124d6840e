"""The tool `browse`."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from pydantic import Field

from soma_core.domain.query import BrowseQuery, Filter
from soma_core.domain.rendering import line
from soma_core.engine import Soma
from soma_mcp.tools.answers import BrowseAnswer, describe_page
from soma_mcp.tools.results import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


def browse_tool(box: Toolbox) -> Tool:
    async def browse(
        since: Annotated[str | None, Field(description="ISO 8601, inclusive")] = None,
        until: Annotated[str | None, Field(description="ISO 8601; a date includes that day")] = None,
        types: list[str] | None = None,
        tags: list[str] | None = None,
        thread: str | None = None,
        speaker: str | None = None,
        order: Annotated[Any, Field(json_schema_extra={"enum": ["newest", "oldest"]})] = "newest",
        limit: Annotated[int, Field(description="1 to 100")] = 20,
        cursor: Annotated[str | None, Field(description="next_cursor of the page before")] = None,
    ) -> Annotated[CallToolResult, BrowseAnswer]:
        """List memories by time, without a question: what happened lately, or all of a thread."""
        wanted = Filter.parse(types=types, tags=tags, thread=thread, speaker=speaker, since=since, until=until)
        query = BrowseQuery.parse(order=order, limit=limit, cursor=cursor, filter=wanted)
        page = await box.call(Soma.browse, box.scope(), query)
        shown = [line(memory) for memory in page.memories] or ["Nothing was found."]
        if page.next_cursor:
            shown.append(f"(more: cursor {page.next_cursor})")
        return answer("\n\n".join(shown), describe_page(page))

    return make_tool(browse, read_only=True)
