"""The wire of a stdio server: no message that comes in goes unanswered.

The protocol library drops a line that its JSON parser refuses, such as one with a lone surrogate, and its sender waits
for ever. Such lines are answered here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TextIO

import anyio
import pydantic_core
from mcp.server.stdio import stdio_server

from soma_core.domain.errors import InvalidInput, SomaError
from soma_core.domain.validation import check_json_characters
from soma_mcp.tools.answers import refusal

PARSE_ERROR = -32700
INVALID_PARAMS = -32602


@asynccontextmanager
async def answering_streams(wire_in: TextIO, wire_out: TextIO) -> AsyncIterator[tuple[Any, Any]]:
    """The message streams of a server over these two."""
    out = anyio.wrap_file(wire_out)
    async with stdio_server(_Lines(wire_in, out), out) as streams:  # type: ignore[arg-type]
        yield streams


class _Lines:
    """The lines of a stream that the protocol library can parse; the others are answered and left out."""

    def __init__(self, lines: TextIO, out: anyio.AsyncFile[str]) -> None:
        self._lines = anyio.wrap_file(lines)
        self._out = out

    async def __aiter__(self) -> AsyncIterator[str]:
        async for line in self._lines:
            answer = refuse(line)
            if answer is None:
                yield line
            elif answer:
                await self._out.write(answer + "\n")
                await self._out.flush()


def refuse(line: str) -> str | None:
    """The answer to a line that cannot be parsed ("" when none is due), or None for one that can."""
    try:
        pydantic_core.from_json(line)
        return None
    except (ValueError, TypeError) as error:  # TypeError: bytes that are no UTF-8 came as surrogates
        if not line.strip():
            return ""
        reason = str(error)
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return _error(None, PARSE_ERROR, f"Parse error: {reason}")
    if not isinstance(message, dict) or "id" not in message:
        return ""
    return _refused_call(message, reason)


def _refused_call(message: dict[str, Any], reason: str) -> str:
    params = message.get("params")
    problem: SomaError = InvalidInput(f"arguments: {reason}", fields=("arguments",))
    try:
        for name, value in (params["arguments"] if isinstance(params, dict) else {}).items():
            check_json_characters(name, value)
    except SomaError as error:
        problem = error
    except (KeyError, AttributeError, RecursionError):
        pass
    if message.get("method") != "tools/call":
        return _error(message["id"], INVALID_PARAMS, problem.message)
    result = refusal(problem).model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})


def _error(message_id: object, code: int, text: str) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text}})
