"""The tool `status`."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from typing_extensions import TypedDict

from soma_core.engine import Soma, Status
from soma_mcp.tools.answers import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


class CountsAnswer(TypedDict):
    live: int
    forgotten: int
    purged: int
    types: dict[str, int]


class PendingAnswer(TypedDict):
    words: int
    vectors: int


class ModelAnswer(TypedDict):
    id: str
    ready: bool


class StatusAnswer(TypedDict):
    namespace: str
    counts: CountsAnswer
    pending: PendingAnswer
    model: ModelAnswer
    health: list[str]
    version: str


def status_tool(box: Toolbox) -> Tool:
    async def status() -> Annotated[CallToolResult, StatusAnswer]:
        """Tell how many memories there are and whether the memory is in order."""
        found = await box.call(Soma.status, box.scope())
        return answer(shown(found), describe_status(found))

    return make_tool(status, read_only=True)


def describe_status(found: Status) -> StatusAnswer:
    """A status as structured content."""
    return {
        "namespace": found.namespace,
        "counts": {
            "live": found.live,
            "forgotten": found.forgotten,
            "purged": found.purged,
            "types": found.types,
        },
        "pending": {"words": found.pending_words, "vectors": found.pending_vectors},
        "model": {"id": found.model, "ready": found.model_ready},
        "health": found.health,
        "version": found.version,
    }


def shown(found: Status) -> str:
    """A status in a few lines."""
    types = ", ".join(f"{n} {kind}" for kind, n in found.types.items())
    lines = [
        f"{found.live} memories in {found.namespace} ({types}); {found.forgotten} forgotten, {found.purged} purged",
        f"pending: {found.pending_words} words, {found.pending_vectors} vectors",
        f"model: {found.model} ({'ready' if found.model_ready else 'not loaded'})",
        "health: " + ("; ".join(found.health) or "good"),
        f"version: {found.version}",
    ]
    return "\n".join(lines)
