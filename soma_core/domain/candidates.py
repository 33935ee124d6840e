"""What ranking sees: the candidates of a question, their features, and who stands beside whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

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


class Candidates:
    """The candidates of one question, by number: all its lists run side by side.

    Their features stand in columns: a step looks at one or two of them, and not at every candidate whole.
    """

    types: Sequence[str]
    in_thread: Sequence[str | None]
    positions: Sequence[int | None]
    speakers: Sequence[str | None]
    words: Sequence[int]
    asking: Sequence[bool]
    """See `Features.question`."""
    instructing: Sequence[bool]
    """See `Features.standing`."""
    times: Sequence[int]
    importances: Sequence[float]

    def __init__(self, question: Question, seen: Sequence[Features], fused: Sequence[float]) -> None:
        self.question = question
        columns: list[Sequence[Any]] = [*zip(*seen, strict=True)] or [()] * len(Features._fields)
        _, self.types, self.in_thread, self.positions, self.speakers, self.words, *others = columns
        self.asking, self.instructing, self.times, self.importances = others
        self.fused = [*fused, 0.0]
        """The last 0 is for -1, the number of a neighbour who is no candidate."""
        of_assistants = {name for name in {*self.speakers} if name is not None and name.casefold() in ASSISTANTS}
        self.assistant = [speaker in of_assistants for speaker in self.speakers]
        """Whether an assistant said it."""
        self.threads: dict[str, list[int]] = {}
        """The candidates of each thread."""
        for number, thread in enumerate(self.in_thread):
            if thread is not None:
                self.threads.setdefault(thread, []).append(number)
        self.before = [-1] * len(seen)
        """Who stands before it in its thread."""
        self.after = [-1] * len(seen)
        for numbers in self.threads.values():
            self._link([(self.positions[number], number) for number in numbers])

    def _link(self, places: Sequence[tuple[int | None, int]]) -> None:
        """Let the candidates of one thread know those right before and after them."""
        standing = dict(places)
        for position, number in places:
            if position is not None and (next_ := standing.get(position + 1)) is not None:
                self.before[next_], self.after[number] = number, next_
