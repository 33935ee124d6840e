"""Storing: `/store`, `/store_bulk`."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import NewMemory
from soma_core.engine import Soma
from soma_mcp.http.answers import BulkStored, Stored, bulk_result, stored
from soma_mcp.http.auth import require
from soma_mcp.http.reading import item_of, new_memory, scope_of
from soma_mcp.http.routes import new_router
from soma_mcp.http.shapes import Store, StoreBulk

router = new_router("store")


@router.post("/store", response_model=Stored)
async def store(request: Request, body: Store) -> JSONResponse:
    """Keep one memory; it is durable when this answers. With `check` the token must allow to read, too."""
    require(request, "write")
    if body.check:
        require(request, "read")
    memory = new_memory(body)
    method = Soma.store_checked if body.check else Soma.store
    receipt = await request.app.state.memory.call(method, scope_of(request, body.key), memory)
    return JSONResponse(stored(receipt))


@router.post("/store_bulk", response_model=BulkStored)
async def store_bulk(request: Request, body: StoreBulk) -> JSONResponse:
    """Keep many memories: all or none, or with `partial` the good ones."""
    require(request, "write")
    memories: list[NewMemory] = []
    results: list[dict[str, Any] | None] = []
    for number, raw in enumerate(body.items):
        try:
            memories.append(item_of(number, raw))
            results.append(None)
        except InvalidInput as error:
            if not body.partial:
                raise
            problem = {"code": error.code, "message": error.message, "fields": list(error.fields)}
            results.append({"ok": False, "error": problem})
    receipts = await request.app.state.memory.call(Soma.store_many, scope_of(request, body.key), memories)
    done = iter(receipts)
    shown = [bulk_result(next(done)) if result is None else result for result in results]
    return JSONResponse({"stored": len(memories), "results": shown})
