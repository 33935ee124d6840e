"""The tool `status`."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult

from soma_core.engine import Soma
from soma_mcp.tools.receipts import StatusAnswer, describe_status, shown_status
from soma_mcp.tools.results import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


def status_tool(box: Toolbox) -> Tool:
    async def status() -> Annotated[CallToolResult, StatusAnswer]:
        """Tell how many memories there are and whether the memory is in order."""
        found = await box.call(Soma.status, box.scope())
        return answer(shown_status(found), describe_status(found))

    return make_tool(status, read_only=True)
