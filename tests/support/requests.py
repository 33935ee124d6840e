"""Short ways to say a request and a memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from soma_core.domain.errors import SomaError
from soma_core.domain.memory import NewMemory
from soma_core.domain.receipts import Change
from soma_core.ports.records import RecordStore, Request, Submission

_numbers = count()


def request(id: str | None = None, digest: str = "digest") -> Request:
    """A request with an id of its own unless one is given."""
    return Request(id or f"request-{next(_numbers)}", digest)


def new(text: str, **fields: Any) -> NewMemory:
    """A checked memory."""
    return NewMemory.parse(text, **fields)


def stored(records: RecordStore, namespace: str, memories: Sequence[NewMemory], request: Request) -> list[Change]:
    """Store one submission; raises what went wrong with it."""
    outcome = records.store([Submission(namespace, memories, request)])[0]
    if isinstance(outcome, SomaError):
        raise outcome
    return outcome
