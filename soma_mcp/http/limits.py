"""How much a caller may ask for: the size of a body, the time of a request, how often, how many recalls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soma_core.domain.errors import Overloaded, TooLarge, Unavailable
from soma_core.domain.errors import RateLimited as TooOften
from soma_core.ports.limits import RateLimiter
from soma_mcp.http.asgi import endpoint, refuse
from soma_mcp.http.metrics import Metrics

T = TypeVar("T")

LINGER_SECONDS = 1.0
"""How long the rest of a refused body is read and dropped, so that its sender gets to see the answer."""

CLASSES = {
    **dict.fromkeys(("store", "store_bulk", "forget", "import"), "write"),
    **dict.fromkeys(
        (
            "recall", "recall_batch", "recall_with_scores", "hybrid_recall_with_scores", "recall_with_context",
            "keyword_search", "mcp",
        ),
        "recall",
    ),
    **dict.fromkeys(("range", "stats", "memories", "memory", "export", "other"), "read"),
}  # fmt: skip
"""The class of each endpoint that is limited; what an MCP message asks for is not known, so it counts as a recall."""


def class_of(name: str, method: str) -> str | None:
    """The class of a request to the endpoint `name`; None when it is free: health, metrics, documents."""
    return "write" if (name, method) == ("memory", "DELETE") else CLASSES.get(name)


class BodyLimit:
    """Refuses bodies over `max_bytes` with 413, whether their length is given or found; `exempt` names paths."""

    def __init__(self, app: ASGIApp, max_bytes: int, exempt: Collection[str] = ("/import",)) -> None:
        self._app = app
        self._max = max_bytes
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
        elif _content_length(scope) > self._max:
            await self._refuse(scope, receive, send)
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the body on as it arrives; once it is too long the application sees a client that hung up."""
        size = 0
        started = False

        async def counted() -> Message:
            nonlocal size
            if size > self._max:
                return {"type": "http.disconnect"}
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self._max:
                return message
            if not started:
                await self._refuse(scope, receive, send)
            return {"type": "http.disconnect"}

        async def guarded(message: Message) -> None:
            nonlocal started
            if size <= self._max:
                started = True
                await send(message)

        try:
            await self._app(scope, counted, guarded)
        except ClientDisconnect:
            if size <= self._max:
                raise

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def unfinished(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        error = TooLarge(f"the body is over {self._max} bytes, the most that is taken: send it in parts, or by /import")
        await refuse(scope, receive, unfinished, error, {"connection": "close"})
        if not any(name == b"expect" for name, _ in scope["headers"]):
            await _drop(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _content_length(scope: Scope) -> int:
    """Bytes; 0 when the length is not given. The server has checked that it is a number."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)


async def _drop(receive: Receive) -> None:
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        return


class Timeout:
    """Ends a request that is not answered after `seconds`, with 503 if no answer has begun; `exempt` names paths.

    The seconds include those in which the body arrives and the answer is taken. Closes the connection.
    """

    def __init__(self, app: ASGIApp, seconds: float, exempt: Collection[str] = ("/export", "/import", "/mcp")) -> None:
        self._app = app
        self._seconds = seconds
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as clock:
                await self._app(scope, receive, noted)
        except TimeoutError:
            if not clock.expired():
                raise
        if clock.expired() and not started:
            error = Unavailable(
                f"not done within {self._seconds:g} s. What was to be stored or forgotten may be done yet: "
                "repeat the request with the same Idempotency-Key"
            )
            await refuse(scope, receive, send, error, {"connection": "close"})


class RateLimited:
    """Takes a token for each request from the bucket of its caller (or client address) and class.

    Where there is none it gets 429 with the seconds until the next. A limiter with a limit of 0 is not asked.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter, metrics: Metrics | None = None) -> None:
        self._app = app
        self._limiter = limiter
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limited = scope["type"] == "http" and self._limiter.limit
        kind = class_of(endpoint(scope), scope["method"]) if limited else None
        wait = await self._limiter.take(f"{kind} {_caller(scope)}") if kind else 0.0
        if not wait:
            await self._app(scope, receive, send)
            return
        if self._metrics:
            self._metrics.rate_limited(kind or "")
        limit, window = self._limiter.limit, self._limiter.window
        error = TooOften(
            f"more than {limit} requests of the kind {kind} in {window:g} s: wait as Retry-After says", retry_after=wait
        )
        await refuse(scope, receive, send, error)


def _caller(scope: Scope) -> str:
    """Who asks: the caller that a token names, else the address of the client."""
    if principal := scope.get("state", {}).get("principal"):
        return f"caller {principal.caller}"
    return f"address {(scope.get('client') or ('',))[0]}"


class RecallGate:
    """Lets `n` recalls work at once. The rest wait up to `patience` seconds, at most 4 n of them.

    Raises `Overloaded` for those that wait too long or are too many.
    """

    def __init__(self, n: int, patience: float = 0.5, metrics: Metrics | None = None) -> None:
        self._n = n
        self._patience = patience
        self._metrics = metrics
        self._free = asyncio.Semaphore(n)
        self._waiting = 0
        self._at_work = 0

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do this when there is room.

        Its place is free when it has ended: a thread works on when nobody waits for its answer any more.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self._count(1)
        task = asyncio.create_task(work())
        task.add_done_callback(self._leave)
        return await asyncio.shield(task)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._free.release()
        self._count(-1)
        if not task.cancelled():
            task.exception()  # heard, also where nobody waits for it

    async def _wait(self) -> None:
        if self._waiting >= 4 * self._n:
            raise self._overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise self._overloaded() from None
        finally:
            self._waiting -= 1

    def _overloaded(self) -> Overloaded:
        if self._metrics:
            self._metrics.recall_refused()
        return Overloaded(f"{self._n} recalls are at work and others wait: try again in a moment", retry_after=1.0)

    def _count(self, change: int) -> None:
        self._at_work += change
        if self._metrics:
            self._metrics.recalls_at_work(self._at_work)
