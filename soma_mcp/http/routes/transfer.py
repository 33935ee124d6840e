"""All memories out and in again, as JSON lines."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import IO, Any

from anyio import to_thread
from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse

from soma_core.domain.errors import InvalidInput, TooLarge
from soma_core.domain.lines import MAX_LINE_BYTES, parse_line
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import MAX_LIMIT, BrowseQuery, Page
from soma_core.engine import Soma
from soma_mcp.http.answers import ImportedBody, memory_body
from soma_mcp.http.auth import require
from soma_mcp.http.reading import scope_of
from soma_mcp.http.routes import new_router

router = new_router("transfer")

LINES = "application/x-ndjson"
EXAMPLE = '{"text": "Ana prefers tabs over spaces", "tags": ["style"]}\n'
IMPORT_BYTES = 1 << 30
IN_MEMORY_BYTES = 1 << 20
BATCH = 500
LISTED_PROBLEMS = 1_000
"""A refusal names at most so many lines."""


@router.get("/export", response_class=StreamingResponse, responses={200: {"content": {LINES: {}}}})
async def export(request: Request) -> StreamingResponse:
    """Every memory of the namespace, the oldest first, one JSON object a line."""
    require(request, "read")
    first = await _page(request, scope_of(request), None)
    return StreamingResponse(_lines(request, first), media_type=LINES)


async def _lines(request: Request, page: Page) -> AsyncIterator[str]:
    while True:
        yield "".join(json.dumps(memory_body(memory), ensure_ascii=False) + "\n" for memory in page.memories)
        if page.next_cursor is None:
            return
        page = await _page(request, scope_of(request), page.next_cursor)


async def _page(request: Request, scope: Scope, cursor: str | None) -> Page:
    query = BrowseQuery.parse(order="oldest", limit=MAX_LIMIT, cursor=cursor)
    page: Page = await request.app.state.memory.call(Soma.browse, scope, query)
    return page


@router.post(
    "/import",
    response_model=ImportedBody,
    openapi_extra={
        "requestBody": {"content": {LINES: {"schema": {"type": "string", "examples": [EXAMPLE]}}}, "required": True}
    },
)
async def import_lines(request: Request, partial: bool = False, key: str | None = None) -> JSONResponse:
    """Store the memories of JSON lines, as `soma store-bulk` and an export have them.

    Nothing is stored where a line is wrong, unless `partial`. The lines are stored in batches of 500 in their order; an
    import that was cut off is finished by sending it again under its key.
    """
    require(request, "write")
    scope = scope_of(request, key)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        await _receive(request, file)
        if not partial:
            await to_thread.run_sync(_check, file)
        stored, refused = await _store(request, scope, file)
    return JSONResponse({"stored": stored, "refused": refused})


async def _receive(request: Request, file: IO[bytes]) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > IMPORT_BYTES:
            raise TooLarge(f"body: is over {IMPORT_BYTES >> 20} MB; send it in parts", fields=("body",))
        await to_thread.run_sync(file.write, chunk)


def _parsed(file: IO[bytes]) -> Iterator[NewMemory | dict[str, Any]]:
    """The memory of each line, or what is wrong with it."""
    file.seek(0)
    for number, line in enumerate(iter(lambda: _line(file), b""), 1):
        if line.strip():
            try:
                yield parse_line(line)
            except InvalidInput as error:
                yield {"line": number, "code": error.code, "message": error.message, "fields": list(error.fields)}


def _line(file: IO[bytes]) -> bytes:
    """The next line. Of one that is too long only the beginning is kept in memory."""
    line = rest = file.readline(MAX_LINE_BYTES + 1)
    while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
        rest = file.readline(MAX_LINE_BYTES + 1)
    return line


def _check(file: IO[bytes]) -> None:
    """Raises `InvalidInput` for lines that are wrong."""
    count, listed = 0, list[dict[str, Any]]()
    for found in _parsed(file):
        if isinstance(found, dict):
            count += 1
            if count <= LISTED_PROBLEMS:
                listed.append(found)
    if listed:
        named = "; ".join(f"line {each['line']}: {each['message']}" for each in listed[:3])
        fields = [f"line {each['line']}" for each in listed]
        raise InvalidInput(f"body: {count} lines are wrong, nothing was stored: {named}", fields=fields)


async def _store(request: Request, scope: Scope, file: IO[bytes]) -> tuple[int, list[dict[str, Any]]]:
    stored, refused, number = 0, list[dict[str, Any]](), 0
    lines = _parsed(file)
    while batch := await to_thread.run_sync(lambda: list(islice(lines, BATCH))):
        memories = [found for found in batch if isinstance(found, NewMemory)]
        refused += [found for found in batch if isinstance(found, dict)][: LISTED_PROBLEMS - len(refused)]
        part = f"{scope.request_id}:{number}" if scope.request_id else None
        await request.app.state.memory.call(Soma.store_many, Scope(scope.namespace, scope.caller, part), memories)
        stored, number = stored + len(memories), number + 1
    return stored, refused
