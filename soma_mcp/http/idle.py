"""Transfers that may take as long as they take, but not stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soma_core.domain.errors import Unavailable
from soma_mcp.http.asgi import refuse

PIECE_BYTES = 64 << 10
"""What must be taken of an answer in the time, so that a slow reader is told from one who does not read."""
ABORT = "soma.abort"
"""The extension of the scope that drops a connection with what was not read of it."""


class Idle:
    """Ends a request to `paths` whose body does not go on, or whose answer is not taken, for `seconds`."""

    def __init__(self, app: ASGIApp, seconds: float, paths: Collection[str] = ("/export", "/import")) -> None:
        self._app = app
        self._seconds = seconds
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        arrived = stalled = False

        async def going_on() -> Message:
            """The body's next part; who waits longer sees a client that hung up."""
            nonlocal arrived, stalled
            if arrived:
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError:
                arrived = stalled = True
                return {"type": "http.disconnect"}
            arrived = not message.get("more_body")
            return message

        async def taken(message: Message) -> None:
            for piece in _pieces(message) if not stalled else ():
                try:
                    async with asyncio.timeout(self._seconds):
                        await send(piece)
                except TimeoutError:
                    _abort(scope)
                    raise ClientDisconnect from None

        try:
            await self._app(scope, going_on, taken)
        except ClientDisconnect:
            if not stalled:
                raise
        if stalled:
            said = f"nothing of the body arrived for {self._seconds:g} s: send it again under the same key"
            await refuse(scope, receive, send, Unavailable(said), {"connection": "close"})


def _pieces(message: Message) -> Iterator[Message]:
    body = message.get("body", b"")
    if len(body) <= PIECE_BYTES:
        yield message
        return
    for start in range(0, len(body), PIECE_BYTES):
        more = start + PIECE_BYTES < len(body) or message.get("more_body", False)
        yield {**message, "body": body[start : start + PIECE_BYTES], "more_body": more}


def _abort(scope: Scope) -> None:
    """Closing would wait until the rest is read."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
    if abort:
        abort()
