"""Periods that are told by an event of which only a memory knows when it was: "the week before my birthday"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from soma_core.domain.days import UNIT_DAYS, midnight
from soma_core.domain.periods import Period, period_starts
from soma_core.domain.shifts import SHIFT, shift_days

ANCHOR_WORDS = 8
ENOUGH = 0.6
"""The share of an anchor's words that the memory of its event must hold."""
_OF = re.compile(
    r"\bthe\s+(?P<unit>day|weekend|week|month)\s+(?:of|when|that)\s+(?=(?:my|our|his|her|their|your|the|i|we|he|she|they|[A-Z])\b)"
)
_CLAUSE = re.compile(r"[^?.!,;:\n]*")
_STOP = {
    "a", "an", "and", "at", "be", "been", "being", "but", "by", "did", "do", "does", "for", "from", "had", "has",
    "have", "he", "her", "his", "i", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "she", "that",
    "the", "their", "them", "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "why",
    "with", "you", "your",
}  # fmt: skip
_NO_EVENT = {"day", "week", "weekend", "month", "year", "time", "life", "that", "yesterday", "tomorrow", "next", "last"}


@dataclass(frozen=True, slots=True)
class Anchor:
    """An event by its words, and the days meant: from `first` to before `after`, the event's own day being 0."""

    words: str
    first: int
    after: int

    @property
    def direction(self) -> Literal["before", "after", "at"]:
        """On which side of the event the days lie."""
        return "before" if self.after <= 0 else "after" if self.first > 0 else "at"


def anchors(text: str) -> list[Anchor]:
    """The events that `text` reckons from, in its order: "two days after the wedding", "the week of my birthday".

    A date as the event ("the week before 3 August") is none; `periods` knows it.
    """
    found = [(match.end(), *shift_days(match)) for match in SHIFT.finditer(text)]
    for match in _OF.finditer(text):
        around = UNIT_DAYS[match["unit"]] // 2
        found.append((match.end(), -around, around + 1))
    if not found:
        return []
    dates = period_starts(text)
    made = [
        Anchor(words, first, after)
        for end, first, after in sorted(found)
        if not dates.intersection(range(end, end + 5)) and (words := _words(text[end:]))
    ]
    return list(dict.fromkeys(made))


def resolve(anchor: Anchor, candidates: Iterable[tuple[datetime, float]]) -> Period | None:
    """The period of an anchor, from the memory that holds most of its words; None when none holds enough.

    `candidates` are when each happened (aware) and the share, 0 to 1, of the anchor's words that it holds, the best
    first: among equals the first is taken. When it was said counts, not a date that its text may name.
    """
    best = max(candidates, key=lambda candidate: candidate[1], default=None)
    if best is None or not best[1] >= ENOUGH:
        return None
    day = midnight(best[0].astimezone(UTC).date())
    try:
        return Period(day + timedelta(days=anchor.first), day + timedelta(days=anchor.after))
    except OverflowError:
        return None


def _words(rest: str) -> str:
    """The words of the event that `rest` begins with, without those that say nothing."""
    clause = _CLAUSE.match(rest)
    said = re.findall(r"[^\W_][\w'\u2019-]*", clause.group() if clause else "")[:ANCHOR_WORDS]
    words = [word for word in said if word.lower() not in _STOP]
    return "" if not words or words[0].lower() in _NO_EVENT else " ".join(words)
