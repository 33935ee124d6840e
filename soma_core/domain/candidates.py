"""What ranking sees: the candidates of a question, their features, and who stands beside whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from soma_core.domain.asking import ASSISTANTS, Question
from soma_core.domain.memory import Memory, count_words, is_question, is_standing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Features(NamedTuple):
    """What ranking sees of a memory beside its scores."""

    version: int
    type: str
    thread: str | None
    position: int | None
    speaker: str | None
    words: int
    question: bool
    """Whether it is a bare question: short, and ends by asking."""
    standing: bool
    """Whether it is a standing instruction, such as "Always use tabs"."""
    occurred_at: int
    """Microseconds since 1970 UTC."""
    importance: float


def microseconds(moment: datetime) -> int:
    """Since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def features_of(memory: Memory) -> Features:
    """The features of a memory that was read whole."""
    return Features(
        memory.version,
        memory.type,
        memory.thread,
        memory.position,
        memory.speaker,
        count_words(memory.text),
        is_question(memory.text),
        is_standing(memory.text),
        microseconds(memory.occurred_at),
        memory.importance,
    )


@dataclass(slots=True)
class Candidates:
    """The candidates of one question, by number: `fused`, `seen`, `before` and `after` run side by side.

    `fused` has one 0 more at its end, so that -1, the number of a neighbour who is no candidate, scores nothing.
    """

    question: Question
    seen: list[Features]
    fused: list[float]
    assistant: list[bool] = field(init=False)
    """Whether an assistant said it."""
    before: list[int] = field(init=False)
    """Who stands before it in its thread."""
    after: list[int] = field(init=False)
    threads: Mapping[str, list[int]] = field(init=False)
    """The candidates of each thread."""

    def __post_init__(self) -> None:
        self.fused = [*self.fused, 0.0]
        speakers = {each.speaker for each in self.seen}
        of_assistants = {name for name in speakers if name is not None and name.casefold() in ASSISTANTS}
        self.assistant = [each.speaker in of_assistants for each in self.seen]
        threads: dict[str, list[int]] = {}
        for number, each in enumerate(self.seen):
            if each.thread is not None:
                threads.setdefault(each.thread, []).append(number)
        self.threads = threads
        self.before = [-1] * len(self.seen)
        self.after = [-1] * len(self.seen)
        for numbers in threads.values():
            self._link([(self.seen[number].position, number) for number in numbers])

    def _link(self, places: Sequence[tuple[int | None, int]]) -> None:
        """Let the candidates of one thread know those right before and after them."""
        standing = dict(places)
        for position, number in places:
            if position is not None and (next_ := standing.get(position + 1)) is not None:
                self.before[next_], self.after[number] = number, next_
