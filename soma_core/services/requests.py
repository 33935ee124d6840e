"""Recognising a request that was sent before."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

from soma_core.domain.memory import Scope, uuid7
from soma_core.ports.records import Request

KEPT = timedelta(days=7)
"""How long a request id is recognised."""


def request_of(scope: Scope, operation: str, arguments: object) -> Request:
    """The request of a call: its id (made here when the edge made none) and the hash of what it asks for.

    The hash is of the values alone, so a call that came over a socket has the one of the call that was sent.
    """
    body = json.dumps([operation, arguments], default=_plain, sort_keys=True, separators=(",", ":"))
    return Request(scope.request_id or str(uuid7()), hashlib.sha256(body.encode()).hexdigest())


def _plain(value: Any) -> Any:
    fields = getattr(type(value), "__dataclass_fields__", None)
    return str(value) if fields is None else [getattr(value, name) for name in fields]
