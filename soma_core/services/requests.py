"""Recognising a request that was sent before."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from soma_core.domain.memory import Scope, uuid7
from soma_core.ports.records import Request

KEPT = timedelta(days=7)
"""How long a request id is recognised."""


def request_of(scope: Scope, operation: str, arguments: object) -> Request:
    """The request of a call: its id (made here when the edge made none) and the hash of what it asks for."""
    body = f"{operation}{arguments!r}"
    return Request(scope.request_id or str(uuid7()), hashlib.sha256(body.encode()).hexdigest())
