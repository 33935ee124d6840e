"""What the layers of middleware share: the state of a request, and refusals in the one shape of errors."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from soma_core.domain.errors import SomaError
from soma_mcp.http.errors import as_http


def endpoint(scope: Scope) -> str:
    """The short name of the route, as `Observed` has found it."""
    return str(scope.get("state", {}).get("endpoint", "other"))


def request_id(scope: Scope) -> str:
    """The id of the HTTP request, as `Observed` has set it."""
    return str(scope.get("state", {}).get("request_id", ""))


async def refuse(
    scope: Scope, receive: Receive, send: Send, error: SomaError, headers: Mapping[str, str] | None = None
) -> None:
    """Answer a request with `error`; `headers` go beside those that belong to the error."""
    status, body, own = as_http(error, request_id(scope))
    await JSONResponse(body, status, {**own, **(headers or {})})(scope, receive, send)
