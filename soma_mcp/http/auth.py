"""Who may call: tokens at the door, the addresses to listen on, and where clients learn of the authorization server."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from soma_core.domain.errors import InvalidInput, SomaError, Unauthenticated
from soma_core.domain.hosts import bracketed
from soma_core.domain.tokens import SCOPES
from soma_core.settings import Settings
from soma_mcp.http.bearers import Bearers, usable_tokens
from soma_mcp.http.errors import as_http, error_body
from soma_mcp.http.hosts import KnownHosts, host_name, is_loopback
from soma_mcp.http.jwts import oauth_of
from soma_mcp.http.principals import ALL_SCOPES, Principal, current_principal, require
from soma_mcp.sharing import SharedSoma

__all__ = [
    "Authenticated", "Principal", "check_exposure", "current_principal", "metadata_routes", "require", "usable_tokens",
]  # fmt: skip

METADATA = "/.well-known/oauth-protected-resource"
PUBLIC = {"/", "/healthz", "/readyz", "/health", "/metrics", "/docs", "/openapi.json"}


class Authenticated:
    """Lets a request through with the `Principal` that makes it, in `request.state` and `current_principal`.

    Public paths are let through without one. While no token is needed everybody may do everything in the namespace of
    the settings, except pages of the web.
    """

    def __init__(self, app: ASGIApp, settings: Settings, memory: SharedSoma) -> None:
        self._app = app
        self._settings = settings
        self._bearers = Bearers(settings, memory)
        self._hosts = KnownHosts(settings)
        self._local = Principal(settings.namespace, ALL_SCOPES, "local")
        self._challenges = oauth_of(settings) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            principal = await self._principal(headers)
        except SomaError as error:
            await self._refusal(error, scope, headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        mark = current_principal.set(principal)
        try:
            await self._app(scope, receive, send)
        finally:
            current_principal.reset(mark)

    async def _principal(self, headers: Headers) -> Principal:
        if not await self._bearers.needed():
            self._hosts.check(headers)
            return self._local
        secret = _bearer_secret(headers)
        if secret is None:
            message = "a token is needed, as `Authorization: Bearer ...`; `soma token create` makes one"
            raise Unauthenticated(message)
        principal = await self._bearers.principal(secret)
        if principal is None:
            raise Unauthenticated("the token is unknown, expired, revoked, or not meant for this server")
        return principal

    def _refusal(self, error: SomaError, scope: Scope, headers: Headers) -> JSONResponse:
        status, body, extra = as_http(error, scope.get("state", {}).get("request_id", ""))
        answer = JSONResponse(body, status, dict(extra))
        if isinstance(error, Unauthenticated):
            answer.headers["www-authenticate"] = self._challenge(scope, headers)
        return answer

    def _challenge(self, scope: Scope, headers: Headers) -> str:
        parts = ['error="invalid_token"'] if _bearer_secret(headers) is not None else []
        if self._challenges and scope["path"] == "/mcp":
            parts.append(f'resource_metadata="{_base(self._settings, scope["scheme"], headers)}{METADATA}/mcp"')
        return " ".join(["Bearer", ", ".join(parts)]).strip()


def is_public(path: str) -> bool:
    """Whether a path is open to everybody."""
    return path in PUBLIC or path.startswith("/.well-known/")


def check_exposure(settings: Settings, has_tokens: bool) -> None:
    """Refuse to listen where others can reach the server while nobody needs a token.

    Raises `InvalidInput`, also when OAuth is set up by halves.
    """
    if is_loopback(settings.host) or settings.api_token or oauth_of(settings) or has_tokens:
        return
    raise InvalidInput(
        f"UVICORN_HOST: is {settings.host}, which other machines can reach, and no token guards it: make one with "
        "`soma token create`, or set SOMA_API_TOKEN or SOMA_OAUTH_ISSUER, or listen on 127.0.0.1",
        fields=("UVICORN_HOST",),
    )


def metadata_routes(settings: Settings) -> list[Route]:
    """What an OAuth client must know about this resource (RFC 9728); 404 where no OAuth is configured."""
    oauth = oauth_of(settings)

    async def protected_resource(request: Request) -> JSONResponse:
        if oauth is None:
            request_id = getattr(request.state, "request_id", "")
            return JSONResponse(error_body("not_found", "no OAuth is configured here", request_id), 404)
        found: dict[str, Any] = {
            "resource": f"{_base(settings, request.url.scheme, request.headers)}/mcp",
            "authorization_servers": [oauth.issuer],
            "scopes_supported": list(SCOPES),
            "bearer_methods_supported": ["header"],
        }
        return JSONResponse(found)

    return [Route(path, protected_resource, methods=["GET"]) for path in (METADATA, f"{METADATA}/mcp")]


def _bearer_secret(headers: Headers) -> bytes | None:
    """What stands after `Bearer`; None without it, empty (which is good for nothing) when it is there twice."""
    given = headers.getlist("authorization")
    if len(given) > 1:
        return b""
    scheme, _, secret = given[0].strip().partition(" ") if given else ("", "", "")
    return secret.strip().encode("latin-1") if scheme.lower() == "bearer" and secret.strip() else None


def _base(settings: Settings, scheme: str, headers: Headers) -> str:
    """The address of the server as the caller knows it."""
    host = headers.get("host", "")
    if not host_name(host):
        host = f"{bracketed(settings.host)}:{settings.port}"
    return settings.public_url or f"{scheme}://{host}"
