"""The tool `get`."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from pydantic import Field
from typing_extensions import TypedDict

from soma_core.domain.query import parse_ids
from soma_core.domain.rendering import line
from soma_core.engine import Soma
from soma_mcp.tools.answers import MemoryAnswer, compact, describe
from soma_mcp.tools.results import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


class GetAnswer(TypedDict):
    memories: list[MemoryAnswer]


def get_tool(box: Toolbox) -> Tool:
    async def get(
        ids: Annotated[list[str], Field(description="Whole ids, or the twelve digits shown in brackets")],
    ) -> Annotated[CallToolResult, GetAnswer]:
        """Read memories in full by id, with payload and version."""
        memories = await box.call(Soma.get, box.scope(), parse_ids(ids))
        shown = [
            f"{line(memory)}\n(version {memory.version}, {memory.type.value}, id {memory.id}"
            + (f", payload {compact(memory.payload)})" if memory.payload else ")")
            for memory in memories
        ]
        return answer("\n\n".join(shown), {"memories": [describe(memory) for memory in memories]})

    return make_tool(get, read_only=True)
