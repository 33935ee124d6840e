"""The wire of a stdio server: no message that comes in goes unanswered.

The protocol library drops a line that its JSON parser refuses, such as one with a lone surrogate, and its sender waits
for ever. Such lines are answered here.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TextIO

import anyio
import pydantic_core
from mcp.server.stdio import stdio_server

from soma_core.domain.errors import InvalidInput, SomaError
from soma_core.domain.validation import check_json_characters
from soma_mcp.tools.results import refusal

READ_BYTES = 1 << 16
PARSE_ERROR = -32700
INVALID_PARAMS = -32602


@asynccontextmanager
async def answering_streams(wire_in: TextIO, wire_out: TextIO) -> AsyncIterator[tuple[Any, Any]]:
    """The message streams of a server over these two.

    Pipes and sockets are read and written by the event loop itself: the library would pass every line through a
    thread, and every answer through two, which is most of what a short call costs.
    """
    loop = asyncio.get_running_loop()
    lines: AsyncIterator[str] = anyio.wrap_file(wire_in).__aiter__()
    out: Any = anyio.wrap_file(wire_out)
    if _can_be_polled(wire_in):
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), wire_in)
        lines = _lines(reader)
    if _can_be_polled(wire_out):
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # it has the flow control of writers
        transport, _ = await loop.connect_write_pipe(lambda: protocol, wire_out)
        out = _Out(asyncio.StreamWriter(transport, protocol, None, loop))
    async with stdio_server(_Answered(lines, out), out) as streams:  # type: ignore[arg-type]
        yield streams


def _can_be_polled(stream: TextIO) -> bool:
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a stream, however long; bytes that are no UTF-8 come as surrogates."""
    rest = bytearray()
    while chunk := await reader.read(READ_BYTES):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            rest += head
            for line in rest.split(b"\n"):
                yield line.decode(errors="surrogateescape")
            rest.clear()
        rest += tail
    if rest:
        yield rest.decode(errors="surrogateescape")


class _Out:
    """What the library wants of a file to write to."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, text: str) -> None:
        self._writer.write(text.encode())

    async def flush(self) -> None:
        await self._writer.drain()


class _Answered:
    """The lines that the protocol library can parse; the others are answered and left out."""

    def __init__(self, lines: AsyncIterator[str], out: Any) -> None:
        self._lines = lines
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
