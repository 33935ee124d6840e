"""Memories, their versions and addresses: values and the rules that make them."""

from __future__ import annotations

import json
import math
import os
import random
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from soma_core.domain.errors import BadCoordinate
from soma_core.domain.validation import (
    MAX_NAME,
    check_choice,
    check_number,
    check_payload,
    check_string,
    check_tags,
    check_text,
    check_time,
)

ID_SPACE = UUID("6f1c6a0e-3c57-5b8e-9d0f-5b1d8f0a7c11")
"""The root of every name-based id."""

DEFAULT_IMPORTANCE = 0.5
QUESTION_WORDS = 30
"""A question of fewer words than this is a bare question (ranking)."""

STANDING = ("always ", "never ", "please always ", "please never ", "from now on", "whenever i ", "every time i ")
"""How a standing instruction begins."""


class MemoryType(StrEnum):
    """Happened, known, or how to."""

    EPISODIC = "episodic"
    SEMANTIC = "semantic"
    PROCEDURAL = "procedural"


class State(StrEnum):
    """What became of a memory. Only a live one is ever returned."""

    LIVE = "live"
    FORGOTTEN = "forgotten"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Scope:
    """Who calls and where: every method of the engine takes one.

    `request_id` identifies a mutating request; the same one again is answered with the first receipt.
    """

    namespace: str
    caller: str = "local"
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewMemory:
    """What a caller wants kept, checked. Build it with `parse`."""

    text: str
    type: MemoryType = MemoryType.EPISODIC
    tags: tuple[str, ...] = ()
    thread: str | None = None
    speaker: str | None = None
    occurred_at: datetime | None = None
    """None means the moment it is recorded."""
    coordinate: str | None = None
    importance: float = DEFAULT_IMPORTANCE
    payload: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        text: object,
        *,
        type: object = None,
        tags: object = None,
        thread: object = None,
        speaker: object = None,
        occurred_at: object = None,
        coordinate: object = None,
        importance: object = None,
        payload: object = None,
    ) -> NewMemory:
        """Check raw arguments; None stands for an absent one. Raises `InvalidInput` naming the field."""
        return cls(
            text=check_text("text", text),
            type=parse_type("type", type) if type is not None else MemoryType.EPISODIC,
            tags=check_tags(tags) if tags is not None else (),
            thread=check_string("thread", thread, max_chars=MAX_NAME) if thread is not None else None,
            speaker=check_string("speaker", speaker, max_chars=MAX_NAME) if speaker is not None else None,
            occurred_at=check_time("occurred_at", occurred_at) if occurred_at is not None else None,
            coordinate=parse_coordinate(coordinate) if coordinate is not None else None,
            importance=check_number("importance", importance, 0, 1) if importance is not None else DEFAULT_IMPORTANCE,
            payload=check_payload(payload) if payload is not None else {},
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """One version of a memory, as recorded."""

    id: UUID
    namespace: str
    version: int
    text: str
    type: MemoryType
    tags: tuple[str, ...]
    thread: str | None
    position: int | None
    """Place in the thread, from 0; None without a thread."""
    speaker: str | None
    occurred_at: datetime
    recorded_at: datetime
    """When this version was learnt."""
    created_at: datetime
    """When the first version was."""
    coordinate: str | None
    importance: float
    payload: dict[str, Any]

    def says_the_same(self, other: NewMemory) -> bool:
        """Whether storing `other` at this memory's coordinate would change nothing."""
        return (
            self.text == other.text
            and self.type == other.type
            and self.tags == other.tags
            and self.thread == other.thread
            and self.speaker == other.speaker
            and other.occurred_at in (None, self.occurred_at)
            and self.importance == other.importance
            and _canonical(self.payload) == _canonical(other.payload)
        )


def _canonical(payload: dict[str, Any]) -> str:
    """One notation for equal JSON; in Python 1, 1.0 and true are equal too."""
    return json.dumps(payload, sort_keys=True)


TYPES = tuple(kind.value for kind in MemoryType)


def parse_type(name: str, value: object) -> MemoryType:
    """`episodic`, `semantic` or `procedural`."""
    return MemoryType(check_choice(name, value, TYPES))


def parse_coordinate(value: object, field: str = "coordinate") -> str:
    """The canonical form of ``"x,y,z"``: 1 to 8 finite numbers, shortest notation, joined by commas."""
    parts = value.split(",") if isinstance(value, str) else []
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not 1 <= len(found) <= 8 or not all(math.isfinite(n) for n in found):
        message = f'{field}: must be 1 to 8 finite numbers joined by commas, such as "1,2.5,3"'
        raise BadCoordinate(message, fields=(field,))
    return ",".join(repr(n + 0.0).removesuffix(".0") for n in found)


def numbers(coordinate: str) -> list[float]:
    """The numbers of a coordinate in its canonical form."""
    return [float(part) for part in coordinate.split(",")]


def new_id(namespace: str, coordinate: str | None) -> UUID:
    """The id of a new memory: name-based (UUIDv5) with a coordinate, otherwise time-ordered (UUIDv7)."""
    if coordinate is None:
        return uuid7()
    return uuid5(ID_SPACE, f"memory\0{namespace}\0{coordinate}")


_chance = random.Random()
"""Begun with what the system gives; to ask that for each id took a twentieth of a request. Ids are no secrets."""
os.register_at_fork(after_in_child=_chance.seed)


def uuid7() -> UUID:
    """A time-ordered UUID (RFC 9562, version 7): 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | _chance.getrandbits(80)
    return UUID(int=value & ~(0xF000 << 64) & ~(0xC000 << 48) | 0x7000 << 64 | 0x8000 << 48)


def short_id(memory_id: UUID) -> str:
    """The last twelve digits of an id: what is shown to a model, and accepted wherever an id is."""
    return str(memory_id)[-12:]


def count_words(text: str) -> int:
    """How many runs of letters and digits `text` has."""
    return len(re.findall(r"\w+", text))


def is_standing(text: str) -> bool:
    """Whether `text` begins as a standing instruction does: "Always ...", "From now on ..."."""
    return text.lstrip().casefold().startswith(STANDING) and not text.lstrip().casefold().startswith("never mind")


def is_question(text: str) -> bool:
    """Whether `text` is a bare question: it ends by asking and is short."""
    return text.rstrip().endswith("?") and count_words(text) < QUESTION_WORDS
