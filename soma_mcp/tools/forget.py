"""The tool `forget`."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult
from pydantic import Field

from soma_core.domain.query import Filter, parse_ids
from soma_core.domain.validation import check_bool, check_string
from soma_core.engine import Soma
from soma_mcp.tools.receipts import MAX_REASON, ForgetAnswer, describe_receipt, shown_receipt
from soma_mcp.tools.results import answer
from soma_mcp.tools.toolbox import Toolbox, make_tool


def forget_tool(box: Toolbox) -> Tool:
    async def forget(
        ids: Annotated[list[str] | None, Field(description="Either ids, or a filter of the fields below")] = None,
        thread: str | None = None,
        tags: Annotated[list[str] | None, Field(description="All of them")] = None,
        before: Annotated[str | None, Field(description="ISO 8601: what occurred earlier")] = None,
        speaker: str | None = None,
        purge: Annotated[bool, Field(description="Erase text and versions for good")] = False,
        dry_run: Annotated[bool, Field(description="Only say what would be forgotten")] = False,
        reason: str | None = None,
        key: Annotated[str | None, Field(description="Idempotency key")] = None,
    ) -> Annotated[CallToolResult, ForgetAnswer]:
        """Forget memories that are wrong, outdated or unwanted: nothing returns them any more."""
        wanted = Filter.parse(thread=thread, tags=tags, speaker=speaker, before=before)
        why = check_string("reason", reason, max_chars=MAX_REASON) if reason is not None else None
        chosen = parse_ids(ids) if ids is not None else ()
        receipt = await box.call(
            Soma.forget, box.scope(key), chosen, wanted, check_bool("purge", purge), check_bool("dry_run", dry_run), why
        )
        return answer(shown_receipt(receipt), describe_receipt(receipt))

    return make_tool(forget, read_only=False, destructive=True)
