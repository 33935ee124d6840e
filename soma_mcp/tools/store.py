"""The tool `store`."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from pydantic import Field

from soma_core.domain.memory import NewMemory, short_id
from soma_core.domain.validation import check_bool
from soma_core.engine import Soma
from soma_mcp.tools.receipts import StoreAnswer, describe_stored
from soma_mcp.tools.results import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


def store_tool(box: Toolbox) -> Tool:
    async def store(
        text: Annotated[str, Field(description="One self-contained fact, event or instruction; at most 64 KB")],
        type: Annotated[
            Any,
            Field(
                description="episodic: happened; semantic: known; procedural: how to",
                json_schema_extra={"enum": ["episodic", "semantic", "procedural"]},
            ),
        ] = "episodic",
        tags: list[str] | None = None,
        thread: Annotated[str | None, Field(description="Conversation, task or run it belongs to")] = None,
        speaker: Annotated[str | None, Field(description="Who said it")] = None,
        occurred_at: Annotated[str | None, Field(description="ISO 8601 date or time; default now")] = None,
        coordinate: Annotated[
            str | None, Field(description='Address "x,y,z"; storing there again revises the memory')
        ] = None,
        importance: Annotated[Any, Field(description="0 to 1", json_schema_extra={"type": "number"})] = 0.5,
        payload: Annotated[dict[str, Any] | None, Field(description="JSON object kept with it")] = None,
        key: Annotated[str | None, Field(description="Idempotency key: the same call again changes nothing")] = None,
        check: Annotated[
            bool, Field(description="Look for similar memories first; the same text is not stored twice")
        ] = False,
    ) -> Annotated[CallToolResult, StoreAnswer]:
        """Remember beyond this conversation: decisions and why, preferences, mistakes, people, dates, how-tos.

        Durable when it returns.
        """
        memory = NewMemory.parse(
            text,
            type=type,
            tags=tags,
            thread=thread,
            speaker=speaker,
            occurred_at=occurred_at,
            coordinate=coordinate,
            importance=importance,
            payload=payload,
        )
        method = Soma.store_checked if check_bool("check", check) else Soma.store
        receipt = await box.call(method, box.scope(key), memory)
        shown = [f"{receipt.status.value} {short_id(receipt.id)} (version {receipt.version})"]
        shown += [f"similar [{short_id(s.id)}] {s.score:.2f}: {s.text}" for s in receipt.similar]
        return answer("\n".join(shown), describe_stored(receipt))

    return make_tool(store, read_only=False)
