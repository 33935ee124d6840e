"""Carrying out what followers ask for: calls in, frames out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from soma_core.domain.errors import SomaError, Unavailable
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.receipts import StoreReceipt
from soma_core.engine import Soma
from soma_mcp.sharing.wire import ConnectionLost, error_body, method

log = logging.getLogger(__name__)

Answer = tuple[bytes, bytes]
"""What a frame is, and its body."""


def carry_out(soma: Soma, body: bytes, send: Callable[[bytes, bytes], None]) -> Answer:
    """Carry out one call; its progress is sent meanwhile."""
    name, _, arguments = body.partition(b"\0")
    try:
        called = method(name.decode())
        named = called.arguments.validate_json(arguments)
        if called.reports_progress:
            named["progress"] = lambda done, total: send(b"P", json.dumps([done, total]).encode())
        return b"R", called.result.dump_json(getattr(soma, called.name)(**named))
    except ConnectionLost:
        raise
    except SomaError as error:
        return b"E", error_body(error)
    except Exception as error:
        return b"E", error_body(_failed(name.decode(errors="replace"), error))


def read_store(body: bytes) -> tuple[Scope, NewMemory]:
    """What a call of `store` wants. Raises `ValueError` when it cannot be read."""
    named = method("store").arguments.validate_json(body.partition(b"\0")[2])
    return named["scope"], named["memory"]


def store_answer(outcome: StoreReceipt | Exception) -> Answer:
    """The answer to a call of `store`."""
    if isinstance(outcome, Exception):
        return b"E", error_body(outcome if isinstance(outcome, SomaError) else _failed("store", outcome))
    return b"R", method("store").result.dump_json(outcome)


def _failed(name: str, error: Exception) -> Unavailable:
    log.error("the call %r failed", name, exc_info=error)
    return Unavailable("the call failed in the process that owns the memory; its log says why")
