"""Errors as HTTP: one JSON shape, one table of statuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from soma_core.domain.errors import Forbidden, Retryable, SomaError

STATUS = {
    "invalid_input": 422,
    "bad_coordinate": 422,
    "not_found": 404,
    "conflict": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "too_large": 413,
    "rate_limited": 429,
    "overloaded": 429,
    "unavailable": 503,
    "folder_in_use": 503,
    "model_missing": 503,
    "model_mismatch": 503,
    "store_corrupt": 503,
    "method_not_allowed": 405,
    "internal": 500,
}
"""The HTTP status of each code."""


class MissingScope(Forbidden):
    """The caller's token lacks a scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs a token with the scope {scope}: `soma token create` makes one")
        self.scope = scope


def error_body(code: str, message: str, request_id: str, fields: tuple[str, ...] = ()) -> dict[str, Any]:
    """The shape of every error: `{error: {code, message, fields, request_id}}`."""
    return {"error": {"code": code, "message": message, "fields": list(fields), "request_id": request_id}}


def as_http(error: SomaError, request_id: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """The status, body and headers that answer a call which failed with `error`."""
    headers: dict[str, str] = {}
    if isinstance(error, Retryable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, MissingScope):
        headers["www-authenticate"] = f'Bearer error="insufficient_scope", scope="{error.scope}"'
    return STATUS.get(error.code, 500), error_body(error.code, error.message, request_id, error.fields), headers
