"""Memories and hits that were never stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from soma_core.domain.memory import Memory, MemoryType
from soma_core.domain.query import Hit, Parts
from tests.support.clock import NOON

_PLAIN = Memory(
    UUID(int=0), "ns", 1, "", MemoryType.EPISODIC, (), None, None, None, NOON, NOON, NOON, None, 0.5, {}
)  # fmt: skip


def memory(text: str, number: int = 1, **fields: Any) -> Memory:
    return replace(_PLAIN, id=UUID(int=number), text=text, **fields)


def hit(text: str, number: int = 1, **fields: Any) -> Hit:
    return Hit(memory(text, number, **fields), Parts(1.0, 1.0, 2.0))
