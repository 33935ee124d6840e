"""The outermost layer: request id, access log, metrics, trace span, and an answer when all else has failed."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from urllib.parse import quote

from opentelemetry import trace
from opentelemetry.trace import Tracer
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soma_core.domain.errors import SomaError, Unavailable
from soma_core.domain.memory import uuid7
from soma_mcp.http.asgi import refuse
from soma_mcp.http.errors import error_body
from soma_mcp.http.logs import fields
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.traces import end_span, server_span

LOG = logging.getLogger(__name__)
ACCESS = logging.getLogger("soma_mcp.access")

ENDPOINTS = {
    "/": "root",
    "/openapi.json": "openapi",
    **{
        f"/{name}": name
        for name in (
            "store", "store_bulk", "recall", "recall_batch", "recall_with_scores", "hybrid_recall_with_scores",
            "recall_with_context", "keyword_search", "range", "stats", "memories", "forget", "export", "import", "mcp",
            "healthz", "readyz", "health", "metrics", "docs",
        )
    },
}  # fmt: skip
"""The short name of each route whose path is fixed."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
HUNG_UP = 499
"""What is logged and counted as the status of a request whose client left before it was answered."""

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_LONGEST_PATH = 256


def endpoint_of(path: str) -> str:
    """The short name of the route that a path belongs to; `other` when there is none."""
    if name := ENDPOINTS.get(path):
        return name
    head, _, rest = path[1:].partition("/")
    if head == "memories" and rest and "/" not in rest:
        return "memory"
    return {".well-known": "well_known", "mcp": "mcp"}.get(head, "other") if rest else "other"


class Observed:
    """Gives every request an id (its X-Request-ID, or a new one), and sees to it that it is answered and seen.

    Sets `request_id` and `endpoint` in ``scope["state"]``. What was raised below is answered and logged here: an error
    of the engine as itself, a client that hung up not at all, anything else as `internal`.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        endpoints: Callable[[str], str] = endpoint_of,
        tracer: Tracer | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._endpoints = endpoints
        self._tracer = tracer or trace.get_tracer("soma")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, self._endpoints(scope["path"]), receive, send)
        self._metrics.began()
        with server_span(self._tracer, scope, exchange.method, exchange.endpoint) as span:
            try:
                await self._answer(scope, exchange)
            finally:
                status, seconds = exchange.outcome()
                self._metrics.ended(exchange.endpoint, exchange.method, status, seconds)
                end_span(span, status)
                _log_access(scope, exchange, status, seconds)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if _is_hang_up(error):
                exchange.hung_up = True
            elif isinstance(error, SomaError) and exchange.status is None:
                await refuse(scope, exchange.receive, exchange.send, error)
            else:
                about = fields(request_id=exchange.request_id, endpoint=exchange.endpoint)
                LOG.error("a request failed", exc_info=error, extra=about)
        except asyncio.CancelledError:  # the server ends, and the time for requests at work is over
            if exchange.status is None:
                ending = Unavailable("the server is ending: repeat the request with the same Idempotency-Key")
                await refuse(scope, exchange.receive, exchange.send, ending)
        if exchange.status is None and not exchange.hung_up:
            message = "the server failed; its log says more under this request_id"
            body = error_body("internal", message, exchange.request_id)
            await JSONResponse(body, 500)(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and what became of it."""

    def __init__(self, scope: Scope, endpoint: str, receive: Receive, send: Send) -> None:
        self.method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self.endpoint = endpoint
        self.request_id = _request_id(scope)
        self.status: int | None = None
        self.hung_up = False
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        self._ended: float | None = None
        scope.setdefault("state", {}).update(request_id=self.request_id, endpoint=endpoint)

    def outcome(self) -> tuple[int, float]:
        """The status, and the seconds until the end of the answer."""
        status = self.status or (HUNG_UP if self.hung_up else 500)
        return status, (self._ended or time.perf_counter()) - self._began

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._ended is None:
            self.hung_up = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self.hung_up:
                self.status = message["status"]
            kept = [header for header in message.get("headers", ()) if header[0].lower() != b"x-request-id"]
            message = {**message, "headers": [*kept, (b"x-request-id", self.request_id.encode())]}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._ended = time.perf_counter()


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return str(uuid7())


def _is_hang_up(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_hang_up(each) for each in error.exceptions)
    return isinstance(error, ClientDisconnect)


def _log_access(scope: Scope, exchange: _Exchange, status: int, seconds: float) -> None:
    if not ACCESS.isEnabledFor(logging.INFO):
        return
    principal = scope["state"].get("principal")
    about = fields(
        method=exchange.method,
        endpoint=exchange.endpoint,
        path=quote(scope["path"][:_LONGEST_PATH], safe="/:@!$&'()*+,;=~"),
        status=status,
        ms=round(seconds * 1000, 1),
        request_id=exchange.request_id,
        caller=getattr(principal, "caller", None),
        namespace=getattr(principal, "namespace", None),
    )
    ACCESS.info("request", extra=about)
