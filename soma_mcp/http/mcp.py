"""MCP over streamable HTTP: the same tools, in the namespace of the caller's token."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from soma_core.bootstrap import soma_version
from soma_core.domain.memory import Scope as CallScope
from soma_core.engine import Soma
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
        current_principal.get().require("read" if method in READS else "write")
        called: Any = method
        async with self.gate if called is Soma.recall else contextlib.nullcontext():
            return await Toolbox.call(self, method, scope, *args, **kwargs)


class McpEndpoint:
    """The ASGI application at `/mcp`: stateless, answers as an event stream, or as JSON to who takes only that."""

    def __init__(self, memory: SharedSoma, namespace: str, gate: RecallGate, max_body: int) -> None:
        server = SomaServer(CallersToolbox(lambda: memory, namespace, "mcp", gate=gate), soma_version())
        self._streaming = _sessions(server, max_body, json_response=False)
        self._plain = _sessions(server, max_body, json_response=True)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve requests while inside."""
        async with self._streaming.run(), self._plain.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, takes_events = check_accept_headers(Request(scope))
        sessions = self._streaming if takes_events else self._plain
        await sessions.handle_request(scope, receive, send)


def _sessions(server: SomaServer, max_body: int, *, json_response: bool) -> StreamableHTTPSessionManager:
    low: Any = server._lowlevel_server
    return StreamableHTTPSessionManager(
        app=low, json_response=json_response, stateless=True, max_request_body_size=max_body
    )
