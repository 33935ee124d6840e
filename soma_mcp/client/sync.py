"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Self, TypeVar, overload

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


class SomaClient:
    """A Soma server's memory, in the namespace of the token. Safe to call from many threads.

    Every method raises the errors of `soma_core.domain.errors`: the server's own, `InvalidInput` before anything is
    sent, and `Unavailable` when the server cannot be reached. A call that found no server, or a busy one, is made
    again up to `retries` times; one that changes something carries the same key each time, so that it is applied once.
    `timeout` is in seconds, for each attempt; what did not answer in time is not asked again.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout: float = TIMEOUT_SECONDS, retries: int = RETRIES
    ) -> None:
        self._connection = Connection(url, token, timeout, retries)
        self._http = httpx2.Client(**self._connection.options())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def store(
        self, memory: Given, *, key: str | None = None, check: bool = False, **fields: Unpack[MemoryFields]
    ) -> StoreReceipt:
        """Keep a memory; durable when this returns. With `check`, not if there is one with the same text.

        The same `key` again changes nothing and gets the first receipt.
        """
        return self.send(calls.store(new_memory(memory, fields), key, check))

    @overload
    def store_many(
        self, memories: Iterable[Given], *, key: str | None = None, partial: Literal[False] = False
    ) -> list[StoreReceipt]: ...

    @overload
    def store_many(
        self, memories: Iterable[Given], *, key: str | None = None, partial: Literal[True]
    ) -> list[StoreReceipt | SomaError]: ...

    def store_many(
        self, memories: Iterable[Given], *, key: str | None = None, partial: bool = False
    ) -> list[StoreReceipt] | list[StoreReceipt | SomaError]:
        """Keep all of up to 1,000 memories or, when this raises, none.

        With `partial` those that can be kept; errors of the server stand in the places of the others.
        """
        many = [new_memory(memory, {}) for memory in memories]
        if not many:
            return []
        if partial:
            return self.send(calls.store_each(many, key))
        return self.send(calls.store_many(many, key))

    def recall(self, query: RecallQuery | str, **fields: Unpack[RecallFields]) -> Recall:
        """The best memories for a question, each with its score taken apart."""
        return self.send(calls.recall(wishes.question(query, fields)))

    def get(self, ids: Sequence[object]) -> list[Memory]:
        """The memories with these ids (whole, or their last twelve digits), in that order. Raises `NotFound`."""
        return self.send(calls.get(wishes.ids(ids)))

    def browse(self, query: BrowseQuery | None = None, **fields: Unpack[BrowseFields]) -> Page:
        """Memories by time, page by page."""
        return self.send(calls.browse(wishes.walk(query, fields)))

    def forget(
        self, ids: Sequence[object] = (), wanted: Filter | None = None, **fields: Unpack[ForgetFields]
    ) -> ForgetReceipt:
        """Put memories out of reach, by ids or by a filter; with `purge` remove them altogether."""
        return self.send(wishes.forgetting(ids, wanted, fields))

    def status(self) -> Status:
        """Counts, what is pending, the model, and anything an operator should know."""
        return self.send(calls.status())

    def export(self) -> Iterator[Memory]:
        """All memories, the oldest first, as they arrive. Raises `Unavailable` when the stream breaks off."""
        call, attempts = calls.export(), self._connection.attempts()
        while True:
            try:
                with self._http.stream(**self._connection.request(call)) as response:
                    if not response.is_success:
                        response.read()
                    pause = attempts.answered(response)
                    if pause is None:
                        cutter = LineCutter()
                        for data in response.iter_bytes():
                            yield from (attempts.result(call, line) for line in cutter.feed(data))
                        yield from (attempts.result(call, line) for line in cutter.end())
                        return
            except httpx2.HTTPError as error:
                pause = attempts.failed(error)
            time.sleep(pause)

    def import_(self, memories: Iterable[Given], *, key: str | None = None, partial: bool = False) -> Imported:
        """Store any number of memories, such as those of an export.

        When one is wrong nothing is stored, or with `partial` the others are.
        """
        with calls.import_(memories, key, partial) as call:
            return self.send(call)

    def send(self, call: Call[T]) -> T:
        """Make a call, again where that may help."""
        attempts = self._connection.attempts()
        while True:
            request = self._connection.request(call)
            if call.lines:
                request["content"] = calls.pieces(call.lines)
            try:
                response = self._http.request(**request)
            except httpx2.HTTPError as error:
                pause: float | None = attempts.failed(error)
            else:
                pause = attempts.answered(response)
                if pause is None:
                    return attempts.result(call, response.content)
            time.sleep(pause or 0)
