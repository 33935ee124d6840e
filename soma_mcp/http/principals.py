"""Who calls: the namespace and scopes that a request may use."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from starlette.requests import Request

from soma_core.domain.tokens import SCOPES
from soma_mcp.http.errors import MissingScope

ALL_SCOPES = frozenset(SCOPES)


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: bound to one namespace, and to what its scopes allow there."""

    namespace: str
    scopes: frozenset[str]
    caller: str
    """Which token it was, for limits and logs: never a secret."""

    def may(self, scope: str) -> bool:
        """Whether it has the scope; `admin` has all."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Raises `Forbidden` when it has not."""
        if not self.may(scope):
            raise MissingScope(scope)


current_principal: ContextVar[Principal] = ContextVar("current_principal")
"""The caller of the request at work; not set on public paths."""


def require(request: Request, scope: str) -> Principal:
    """The caller, who must have the scope. Raises `Forbidden`."""
    principal: Principal = request.state.principal
    principal.require(scope)
    return principal
