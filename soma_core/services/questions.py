"""What a question names: speakers of the namespace, dates, and events of which only a memory knows when they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from soma_core.domain.anchors import anchors, resolve
from soma_core.domain.asking import Question, named_speakers, possible_names
from soma_core.domain.candidates import microseconds
from soma_core.domain.periods import Period, periods
from soma_core.ports.index import VectorIndex
from soma_core.ports.records import RecordStore

ANCHOR_CANDIDATES = 50
"""Of so many memories the texts are looked at for the event that "the week before my birthday" names."""

MOST_TIMES, MOST_EVENTS = 40, 3
"""More of a question's times and events than its first ones are not looked at: a pasted page may name hundreds."""
TOLD_WITHIN = 7 * 86_400 * 1_000_000
"""What happened in a named time may be told so much after it, in microseconds, but not longer than that time was."""


def asked(records: RecordStore, namespace: str, text: str, now: datetime) -> Question:
    """The question with the speakers and dates that it names."""
    names = possible_names(text)
    known = records.speakers(namespace, names) if names else []
    times = [
        (since, until + min(until - since, TOLD_WITHIN)) for since, until in _spans(periods(text, now)[:MOST_TIMES])
    ]
    return Question(text, microseconds(now), named_speakers(text, known), tuple(times))


def anchored(
    records: RecordStore,
    index: VectorIndex,
    namespace: str,
    question: Question,
    dense: Mapping[int, float],
    lexical: Mapping[int, float],
) -> Question:
    """The question also with the times it tells by an event, such as "the week before my birthday".

    The event is the memory that holds its words, among the best candidates.
    """
    events = anchors(question.text)[:MOST_EVENTS]
    if not events:
        return question
    fused = {key: dense.get(key, 0.0) + lexical.get(key, 0.0) for key in {**dense, **lexical}}
    best = sorted(fused, key=lambda key: (-fused[key], key))[:ANCHOR_CANDIDATES]
    found = records.read(namespace, [UUID(int=key) for key in best])
    memories = [found[UUID(int=key)] for key in best if UUID(int=key) in found]
    texts = [memory.text for memory in memories]
    times = []
    for event in events:
        shares = index.overlap(event.words, texts)
        times.append(resolve(event, zip((memory.occurred_at for memory in memories), shares, strict=True)))
    return replace(question, periods=(*question.periods, *_spans([time for time in times if time])))


def _spans(times: list[Period]) -> tuple[tuple[int, int], ...]:
    return tuple((microseconds(time.since), microseconds(time.until)) for time in times)
