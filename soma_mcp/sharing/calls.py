"""Carrying out what followers ask for: calls in, frames out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

from soma_core.domain.errors import SomaError, Unavailable
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
    except Exception:
        log.exception("the call %r failed", name.decode(errors="replace"))
        return b"E", error_body(Unavailable("the call failed in the process that owns the memory; its log says why"))


def carry_out_stores(soma: Soma, bodies: Sequence[bytes]) -> list[Answer]:
    """Carry out calls of `store` in one commit."""
    called = method("store")
    named = [called.arguments.validate_json(body.partition(b"\0")[2]) for body in bodies]
    outcomes = soma.store_each([(each["scope"], each["memory"]) for each in named])
    return [
        (b"E", error_body(outcome)) if isinstance(outcome, SomaError) else (b"R", called.result.dump_json(outcome))
        for outcome in outcomes
    ]
