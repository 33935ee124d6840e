"""The client for event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Literal, Self, TypeVar, overload

import anyio
import httpx2
from typing_extensions import Unpack

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import Memory
from soma_core.domain.query import BrowseQuery, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, StoreReceipt
from soma_core.engine import Status
from soma_mcp.client import calls, wishes
from soma_mcp.client.calls import Call, LineCutter
from soma_mcp.client.connection import RETRIES, TIMEOUT_SECONDS, Connection
from soma_mcp.client.shapes import Given, Imported, MemoryFields, new_memory
from soma_mcp.client.wishes import BrowseFields, ForgetFields, RecallFields

T = TypeVar("T")


class AsyncSomaClient:
    """The methods of `SomaClient` for asyncio or trio. Use it in one event loop."""

    def __init__(
        self, url: str, token: str | None = None, timeout: float = TIMEOUT_SECONDS, retries: int = RETRIES
    ) -> None:
        self._connection = Connection(url, token, timeout, retries)
        self._http = httpx2.AsyncClient(**self._connection.options())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def store(
        self, memory: Given, *, key: str | None = None, check: bool = False, **fields: Unpack[MemoryFields]
    ) -> StoreReceipt:
        """See `SomaClient.store`."""
        return await self.send(calls.store(new_memory(memory, fields), key, check))

    @overload
    async def store_many(
        self, memories: Iterable[Given], *, key: str | None = None, partial: Literal[False] = False
    ) -> list[StoreReceipt]: ...

    @overload
    async def store_many(
        self, memories: Iterable[Given], *, key: str | None = None, partial: Literal[True]
    ) -> list[StoreReceipt | SomaError]: ...

    async def store_many(
        self, memories: Iterable[Given], *, key: str | None = None, partial: bool = False
    ) -> list[StoreReceipt] | list[StoreReceipt | SomaError]:
        """See `SomaClient.store_many`."""
        many = [new_memory(memory, {}) for memory in memories]
        if not many:
            return []
        if partial:
            return await self.send(calls.store_each(many, key))
        return await self.send(calls.store_many(many, key))

    async def recall(self, query: RecallQuery | str, **fields: Unpack[RecallFields]) -> Recall:
        """See `SomaClient.recall`."""
        return await self.send(calls.recall(wishes.question(query, fields)))

    async def get(self, ids: Sequence[object]) -> list[Memory]:
        """See `SomaClient.get`."""
        return await self.send(calls.get(wishes.ids(ids)))

    async def browse(self, query: BrowseQuery | None = None, **fields: Unpack[BrowseFields]) -> Page:
        """See `SomaClient.browse`."""
        return await self.send(calls.browse(wishes.walk(query, fields)))

    async def forget(
        self, ids: Sequence[object] = (), wanted: Filter | None = None, **fields: Unpack[ForgetFields]
    ) -> ForgetReceipt:
        """See `SomaClient.forget`."""
        return await self.send(wishes.forgetting(ids, wanted, fields))

    async def status(self) -> Status:
        """See `SomaClient.status`."""
        return await self.send(calls.status())

    async def export(self) -> AsyncIterator[Memory]:
        """See `SomaClient.export`."""
        call, attempts = calls.export(), self._connection.attempts()
        while True:
            try:
                async with self._http.stream(**self._connection.request(call)) as response:
                    if not response.is_success:
                        await response.aread()
                    pause = attempts.answered(response)
                    if pause is None:
                        cutter = LineCutter()
                        async for data in response.aiter_bytes():
                            for line in cutter.feed(data):
                                yield attempts.result(call, line)
                        for line in cutter.end():
                            yield attempts.result(call, line)
                        return
            except httpx2.HTTPError as error:
                pause = attempts.failed(error)
            await anyio.sleep(pause)

    async def import_(self, memories: Iterable[Given], *, key: str | None = None, partial: bool = False) -> Imported:
        """See `SomaClient.import_`."""
        with calls.import_(memories, key, partial) as call:
            return await self.send(call)

    async def send(self, call: Call[T]) -> T:
        """Make a call, again where that may help."""
        attempts = self._connection.attempts()
        while True:
            request = self._connection.request(call)
            if call.lines:
                request["content"] = _awaited(calls.pieces(call.lines))
            try:
                response = await self._http.request(**request)
            except httpx2.HTTPError as error:
                pause: float | None = attempts.failed(error)
            else:
                pause = attempts.answered(response)
                if pause is None:
                    return attempts.result(call, response.content)
            await anyio.sleep(pause or 0)


async def _awaited(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
