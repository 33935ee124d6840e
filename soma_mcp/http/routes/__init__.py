"""The routes of the API, one concern a file."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from soma_mcp.http.answers import ErrorBody

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request cannot be read: code `invalid_input`"},
    401: {"model": ErrorBody, "description": "No token, or none that is good: `unauthenticated`"},
    403: {"model": ErrorBody, "description": "The token does not allow it: `forbidden`"},
    404: {"model": ErrorBody, "description": "Unknown id: `not_found`"},
    409: {"model": ErrorBody, "description": "The key was used with other arguments: `conflict`"},
    413: {"model": ErrorBody, "description": "The body is over its cap: `too_large`"},
    422: {"model": ErrorBody, "description": "A field is wrong: `invalid_input`, `bad_coordinate`"},
    429: {"model": ErrorBody, "description": "Too often or too much at once: `rate_limited`, `overloaded`"},
    500: {"model": ErrorBody, "description": "A failure that the log tells: `internal`"},
    503: {"model": ErrorBody, "description": "Later it may do: `unavailable`; see Retry-After"},
}


def new_router(tag: str) -> APIRouter:
    """A router whose routes name every error."""
    return APIRouter(tags=[tag], responses=ERRORS, generate_unique_id_function=_name)


def _name(route: APIRoute) -> str:
    return route.name
