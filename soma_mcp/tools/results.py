"""What a tool call comes to on the wire: short text for the model, the same as structured content for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, TextContent

from soma_core.domain.errors import SomaError


def answer(text: str, structured: Mapping[str, Any]) -> CallToolResult:
    """A successful result."""
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=dict(structured))


def refusal(error: SomaError) -> CallToolResult:
    """A failure that the model can read and act on."""
    body = {"error": {"code": error.code, "message": error.message, "fields": list(error.fields)}}
    text = f"{error.code}: {error.message}"
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=body, is_error=True)
