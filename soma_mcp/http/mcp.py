"""MCP over streamable HTTP: the same tools, in the namespace of the caller's token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from soma_core.bootstrap import soma_version
from soma_core.domain.errors import Unavailable
from soma_core.domain.memory import Scope as CallScope
from soma_core.engine import Soma
from soma_mcp.http.asgi import refuse
from soma_mcp.http.auth import current_principal
from soma_mcp.http.limits import RecallGate
from soma_mcp.server import SomaServer
from soma_mcp.sharing import SharedSoma
from soma_mcp.sharing.shared import Method, P, T
from soma_mcp.tools.toolbox import Toolbox

READS = {Soma.recall, Soma.get, Soma.browse, Soma.status}


@dataclass(frozen=True, slots=True)
class CallersToolbox(Toolbox):
    """The tools of whoever calls: in the namespace and with the scopes of the token."""

    gate: RecallGate = field(kw_only=True)

    def scope(self, key: object = None) -> CallScope:
        made = Toolbox.scope(self, key)
        principal = current_principal.get()
        return CallScope(principal.namespace, principal.caller, made.request_id)

    async def call(self, method: Method[P, T], scope: CallScope, *args: P.args, **kwargs: P.kwargs) -> T:
        called: Any = method
        for needed in _scopes(called):
            current_principal.get().require(needed)
        if called is Soma.recall:
            return await self.gate.run(lambda: Toolbox.call(self, method, scope, *args, **kwargs))
        return await Toolbox.call(self, method, scope, *args, **kwargs)


def _scopes(method: Any) -> tuple[str, ...]:
    """What a caller must be allowed; a checked store names the texts of similar memories."""
    if method == Soma.store_checked:
        return "read", "write"
    return ("read",) if method in READS else ("write",)


class McpEndpoint:
    """The ASGI application at `/mcp`: stateless, answers as an event stream, or as JSON to who takes only that.

    The body of a request must have arrived within `body_seconds`; the call itself may take as long as it takes.
    """

    def __init__(
        self, memory: SharedSoma, namespace: str, gate: RecallGate, max_body: int, body_seconds: float
    ) -> None:
        self._body_seconds = body_seconds
        server = SomaServer(CallersToolbox(lambda: memory, namespace, "mcp", gate=gate), soma_version())
        self._streaming = _sessions(server, max_body, json_response=False)
        self._plain = _sessions(server, max_body, json_response=True)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve requests while inside."""
        async with self._streaming.run(), self._plain.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a message. Raises `HTTPException` for another method than POST."""
        if scope["method"] != "POST":  # there is no session that a stream could belong to
            raise HTTPException(405, headers={"Allow": "POST"})
        request = Request(scope, receive)
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await request.body()
        except TimeoutError:
            error = Unavailable(f"the body did not arrive within {self._body_seconds:g} s")
            await refuse(scope, receive, send, error, {"connection": "close"})
            return
        _, takes_events = check_accept_headers(request)
        sessions = self._streaming if takes_events else self._plain
        await sessions.handle_request(scope, _again(body, receive), send)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, then what else the client does."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _sessions(server: SomaServer, max_body: int, *, json_response: bool) -> StreamableHTTPSessionManager:
    low: Any = server._lowlevel_server
    return StreamableHTTPSessionManager(
        app=low, json_response=json_response, stateless=True, max_request_body_size=max_body
    )
