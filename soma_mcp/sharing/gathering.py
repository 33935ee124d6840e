"""Stores of one event loop, carried out together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from anyio import to_thread

from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.receipts import StoreReceipt
from soma_core.engine import Soma

Waiting = tuple[Scope, NewMemory, asyncio.Future[StoreReceipt]]


class Gathering:
    """What comes while a commit is under way goes into the next one: one thread, however many callers."""

    def __init__(self, soma: Soma) -> None:
        self._soma = soma
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def store(self, scope: Scope, memory: NewMemory) -> StoreReceipt:
        """See `Soma.store`; for the callers of one event loop."""
        future: asyncio.Future[StoreReceipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((scope, memory, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            calls, self._waiting = self._waiting, []
            try:
                pairs = [(scope, memory) for scope, memory, _ in calls]
                outcomes: Sequence[StoreReceipt | BaseException] = await to_thread.run_sync(
                    self._soma.store_each, pairs
                )
            except BaseException as error:
                outcomes = [error] * len(calls)
            for (_, _, future), outcome in zip(calls, outcomes, strict=True):
                if future.done():  # its caller went away
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
