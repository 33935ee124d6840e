"""The HTTP application: routes, the MCP endpoint and the layers around them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from soma_core.bootstrap import soma_version
from soma_core.domain.errors import SomaError
from soma_core.domain.memory import Scope
from soma_core.servers import open_limiter
from soma_core.settings import Settings
from soma_mcp.http.auth import Authenticated, is_public, metadata_routes
from soma_mcp.http.errors import as_http, error_body
from soma_mcp.http.forms import HeadAsGet, WithoutSlash
from soma_mcp.http.idle import Idle
from soma_mcp.http.limits import BodyLimit, RateLimited, RecallGate, Timeout
from soma_mcp.http.mcp import McpEndpoint
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.observe import Observed
from soma_mcp.http.reading import first_problem
from soma_mcp.http.routes import health, memories, recalling, storing, transfer
from soma_mcp.sharing import SharedSoma

DESCRIPTION = "A long-term memory for LLM agents. Every error is `{error: {code, message, fields, request_id}}`."
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 0.5
"""How long a recall waits for others to end before it is turned away."""


def create_app(settings: Settings, memory: SharedSoma, metrics: Metrics) -> ASGIApp:
    """The whole application over an open memory, which stays the caller's to close."""
    limiter = open_limiter(settings, lambda: memory.store_id(Scope(settings.namespace)))
    app = create_api(settings, memory, metrics, limiter.close)
    layered: ASGIApp = RateLimited(app, limiter, metrics)
    layered = Authenticated(layered, settings, memory)
    layered = Idle(layered, settings.request_timeout)
    layered = Timeout(layered, settings.request_timeout)
    layered = BodyLimit(layered, settings.max_body)
    if settings.cors_origins:
        layered = CORSMiddleware(
            layered,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID"],
        )
    return WithoutSlash(Observed(HeadAsGet(layered), metrics))


class _Documented(FastAPI):
    """Says in its document which paths take a token; without one in the store, none is needed."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = FastAPI.openapi(self)
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if is_public(path) else [{"token": []}, {}]
        return self.openapi_schema or {}


def create_api(
    settings: Settings, memory: SharedSoma, metrics: Metrics, on_end: Callable[[], Awaitable[None]] | None = None
) -> FastAPI:
    """The routes alone; `on_end` runs when the server has ended."""
    gate = RecallGate(settings.max_recalls, PATIENCE_SECONDS, metrics)
    mcp = McpEndpoint(memory, settings.namespace, gate, settings.max_body, settings.request_timeout)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mcp.run(), anyio.create_task_group() as watching:
            watching.start_soon(_watch_loop, metrics)
            yield
            watching.cancel_scope.cancel()
        if on_end:
            await on_end()

    app = _Documented(
        title="Soma",
        version=soma_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.memory, app.state.settings, app.state.metrics, app.state.gate = memory, settings, metrics, gate
    for module in (storing, recalling, memories, transfer, health):  # not `include_router`: it costs every request
        app.router.routes.extend(module.router.routes)
    app.router.routes.extend(metadata_routes(settings))
    app.router.routes.append(Route("/mcp", mcp))
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


async def _watch_loop(metrics: Metrics) -> None:
    """Measure how late the event loop comes: whatever holds it up holds every caller up."""
    while True:
        due = time.perf_counter() + LOOK_SECONDS
        await anyio.sleep(LOOK_SECONDS)
        metrics.loop_lag(max(0.0, time.perf_counter() - due))


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SomaError)
    status, body, headers = as_http(error, request.state.request_id)
    return JSONResponse(body, status, dict(headers))


async def _refuse_failure(request: Request, error: Exception) -> JSONResponse:
    """What no route expected; its traceback goes to the log, not to the caller."""
    message = "the request failed in the server; its log says why under this request_id"
    return JSONResponse(error_body("internal", message, request.state.request_id), 500)


async def _refuse_types(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problem, field = first_problem(error.errors())
    return JSONResponse(error_body("invalid_input", problem, request.state.request_id, (field,)), 422)


async def _refuse_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, message, fields = _HTTP.get(error.status_code, ("invalid_input", str(error.detail), ()))
    body = error_body(code, message, request.state.request_id, fields)
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


_HTTP: dict[int, tuple[str, str, tuple[str, ...]]] = {
    400: ("invalid_input", "body: is no JSON in UTF-8, or it nests too deep or holds too long a number", ("body",)),
    404: ("not_found", "there is no such path; see /docs", ()),
    405: ("method_not_allowed", "this path takes another method; see /docs", ()),
}
_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Any]] = {
    SomaError: _refuse,
    RequestValidationError: _refuse_types,
    HTTPException: _refuse_http,
    Exception: _refuse_failure,
}
