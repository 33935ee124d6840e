"""Short ways to say a request and a memory."""

from __future__ import annotations

from itertools import count
from typing import Any

from soma_core.domain.memory import NewMemory
from soma_core.ports.records import Request

_numbers = count()


def request(id: str | None = None, digest: str = "digest") -> Request:
    """A request with an id of its own unless one is given."""
    return Request(id or f"request-{next(_numbers)}", digest)


def new(text: str, **fields: Any) -> NewMemory:
    """A checked memory."""
    return NewMemory.parse(text, **fields)
