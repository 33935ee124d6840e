"""Memories by id, by time, by coordinate; forgetting them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request
from fastapi.responses import JSONResponse

from soma_core.domain.errors import InvalidInput, NotFound
from soma_core.domain.memory import numbers, parse_coordinate
from soma_core.domain.query import BrowseQuery, Filter, parse_id, parse_ids
from soma_core.domain.validation import check_string
from soma_core.engine import Soma
from soma_mcp.http.answers import MemoryBody, PageBody, RangeBody, StatsBody, memory_body, range_body, stats_body
from soma_mcp.http.auth import require
from soma_mcp.http.reading import scope_of
from soma_mcp.http.routes import new_router
from soma_mcp.http.shapes import Coordinate, Forget, TypeName
from soma_mcp.tools.receipts import MAX_REASON, ForgetAnswer, describe_receipt

router = new_router("memories")

Limit = Annotated[int, Query(ge=1, le=100)]
Id = Annotated[str, Path(description="A memory id, or its last twelve digits", examples=["1f0a7c11d3e2"])]


@router.get("/memories/{id}", response_model=MemoryBody)
async def get_memory(request: Request, id: Id) -> JSONResponse:
    """One memory in full; the id may be its last twelve digits."""
    require(request, "read")
    given = parse_id("id", id)
    try:
        found = await request.app.state.memory.call(Soma.get, scope_of(request), (given,))
    except NotFound:
        raise _unknown(given) from None
    return JSONResponse(memory_body(found[0]))


@router.get("/memories", response_model=PageBody)
async def list_memories(
    request: Request,
    ids: Annotated[str | None, Query(description="These, separated by commas; nothing else counts then")] = None,
    types: Annotated[list[str] | None, Query(description="Any of these; given once each")] = None,
    tags: Annotated[list[str] | None, Query(description="All of these; given once each")] = None,
    thread: str | None = None,
    speaker: str | None = None,
    since: Annotated[str | None, Query(description="ISO 8601, inclusive")] = None,
    until: Annotated[str | None, Query(description="ISO 8601; a date includes that day")] = None,
    order: Annotated[str, Query(description="newest or oldest")] = "newest",
    limit: Limit = 20,
    cursor: Annotated[str | None, Query(description="next_cursor of the page before")] = None,
) -> JSONResponse:
    """Memories by time, page by page, or those with given ids."""
    require(request, "read")
    memory = request.app.state.memory
    if ids is not None:
        listed = [part.strip() for part in ids.split(",") if part.strip()]
        found = await memory.call(Soma.get, scope_of(request), parse_ids(listed))
        return JSONResponse({"memories": [memory_body(each) for each in found], "next_cursor": None})
    wanted = Filter.parse(types=types, tags=tags, thread=thread, speaker=speaker, since=since, until=until)
    query = BrowseQuery.parse(order=order, limit=limit, cursor=cursor, filter=wanted)
    page = await memory.call(Soma.browse, scope_of(request), query)
    return JSONResponse({"memories": [memory_body(each) for each in page.memories], "next_cursor": page.next_cursor})


@router.delete("/memories/{id}", response_model=ForgetAnswer)
async def delete_memory(request: Request, id: Id, purge: bool = False, reason: str | None = None) -> JSONResponse:
    """Forget one memory; `purge` erases it for good."""
    require(request, "write")
    given = parse_id("id", id)
    try:
        receipt = await request.app.state.memory.call(
            Soma.forget, scope_of(request), (given,), None, purge, False, _reason(reason)
        )
    except NotFound:
        raise _unknown(given) from None
    if not receipt.count:
        raise _unknown(given)
    return JSONResponse(describe_receipt(receipt))


@router.post("/forget", response_model=ForgetAnswer)
async def forget(request: Request, body: Forget) -> JSONResponse:
    """Forget memories, by ids or by a filter: nothing returns them any more."""
    require(request, "write")
    wanted = Filter.parse(thread=body.thread, tags=body.tags, speaker=body.speaker, before=body.before)
    ids = parse_ids(body.ids) if body.ids is not None else ()
    receipt = await request.app.state.memory.call(
        Soma.forget, scope_of(request, body.key), ids, wanted, body.purge, body.dry_run, _reason(body.reason)
    )
    return JSONResponse(describe_receipt(receipt))


@router.get("/range", response_model=RangeBody)
async def range_of(
    request: Request,
    min: Annotated[Coordinate, Query()],
    max: Annotated[Coordinate, Query()],
    type: TypeName | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> JSONResponse:
    """Memories whose coordinate lies between two others in every number, borders included."""
    require(request, "read")
    low, high = parse_coordinate(min, "min"), parse_coordinate(max, "max")
    if len(numbers(low)) != len(numbers(high)):
        raise InvalidInput("max: must have as many numbers as min", fields=("min", "max"))
    wanted = Filter.parse(types=[type] if type else None)
    found = await request.app.state.memory.call(Soma.within, scope_of(request), low, high, wanted, limit)
    return JSONResponse(range_body(found))


@router.get("/stats", response_model=StatsBody)
async def stats(request: Request) -> JSONResponse:
    """How the memory of the namespace stands."""
    require(request, "read")
    return JSONResponse(stats_body(await request.app.state.memory.call(Soma.status, scope_of(request))))


def _unknown(given: str) -> NotFound:
    return NotFound(f"id: no memory has the id {given}", fields=("id",))


def _reason(given: str | None) -> str | None:
    return check_string("reason", given, max_chars=MAX_REASON) if given is not None else None
