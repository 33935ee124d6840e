"""From a version of a memory to the points that stand for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from soma_core.domain.passages import dated, split_passages, spoken
from soma_core.ports.index import IndexPoint
from soma_core.ports.records import Versioned

PORTION_CHARS = 48_000
"""Embedded in one call: about 12,000 tokens, a second on two cores."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A point without its vector, and the text that the vector is made of."""

    point: IndexPoint
    text: str


def portions(passages: Sequence[Passage]) -> Iterable[list[Passage]]:
    """Passages of like length together, as many as are embedded in one call."""
    portion: list[Passage] = []
    chars = 0
    for passage in sorted(passages, key=lambda passage: len(passage.text)):
        if portion and chars + len(passage.text) > PORTION_CHARS:
            yield portion
            portion, chars = [], 0
        portion.append(passage)
        chars += len(passage.text)
    if portion:
        yield portion


def passages_of(item: Versioned) -> list[Passage]:
    """The passages of a version, in order."""
    memory = item.memory
    return [
        Passage(_point(item, number, passage), spoken(passage, memory.speaker))
        for number, passage in enumerate(split_passages(memory.text))
    ]


def _point(item: Versioned, number: int, passage: str) -> IndexPoint:
    memory = item.memory
    return IndexPoint(
        memory_id=memory.id,
        version=memory.version,
        passage=number,
        words=dated(passage, memory.speaker, memory.occurred_at),
        vector=None,
        current=item.current,
        type=memory.type,
        tags=memory.tags,
        thread=memory.thread,
        speaker=memory.speaker,
        occurred_at=memory.occurred_at,
    )
