"""A connection of the server: what a client may take of it before its request is known."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from soma_core.domain.memory import uuid7
from soma_mcp.http.errors import error_body
from soma_mcp.http.idle import ABORT

HEAD_BYTES = 64 << 10
"""Request line and headers."""
HEAD_SECONDS = 10.0
"""For request line and headers, from the opening of the connection or the first byte after an answer."""

NOT_HTTP = (400, "invalid_input", "this is not HTTP/1.1")
LARGE_HEAD = (431, "too_large", f"the request line and headers are over {HEAD_BYTES} bytes")
SLOW_HEAD = (408, "unavailable", f"the request line and headers did not arrive within {HEAD_SECONDS:g} s")
FULL = (503, "unavailable", "there are too many connections: try again later")


class Connection(HttpToolsProtocol):
    """HTTP/1.1 of which the head of a request is bounded in bytes and in time, and the number in all."""

    most = 10_000
    """Connections at once; above that a new one is closed at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0
        """Of the head that is arriving; not those that came in one piece with its first byte."""
        self._problem = NOT_HTTP

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()
        if len(self.connections) > self.most:
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        self._await_head()
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(LARGE_HEAD)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]
        self._in_head, self._head_bytes = True, 0
        if self._head_timer is None:
            self._start_timer()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            self._problem = LARGE_HEAD
            raise ValueError(LARGE_HEAD)  # the parser stops, and `send_400_response` answers
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._problem)

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._in_head:
            self._refuse(SLOW_HEAD)
        else:
            self.transport.close()

    def _refuse(self, problem: tuple[int, str, str]) -> None:
        status, code, message = problem
        body = json.dumps(error_body(code, message, str(uuid7()))).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _await_head(self) -> None:
        """Bound the wait after bytes that begin no request, such as an empty line, which end that for idle ones."""
        idle = self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing()
        if idle and self._head_timer is None and self.timeout_keep_alive_task is None:
            self._start_timer()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
