"""How many days away from an event "the week before" and "two days after" are."""

from __future__ import annotations

import re

from soma_core.domain.days import UNIT_DAYS

_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
_VAGUE = {"couple": 2, "few": 3, "several": 4}
NUMBER = r"\d{1,3}|(?:a\s+)?(?:couple(?:\s+of)?|few|several)|" + "|".join(sorted(_NUMBERS, key=len, reverse=True))
_SHIFT = (
    rf"\b(?:(?P<count>{NUMBER}|the|last)\s+)?(?P<unit>day|weekend|week|fortnight|month|year)s?"
    r"\s+(?P<way>before|prior\s+to|after|following)\s+"
)
SHIFT = re.compile(_SHIFT, re.IGNORECASE)
_SHIFT_AT_END = re.compile(_SHIFT + r"(?:the\s+)?$", re.IGNORECASE)
_WINDOW = 60
_SLACK = {1: 0, 7: 3, 14: 3, 30: 15, 365: 60}


def shift_before(text: str) -> tuple[int, int, int] | None:
    """The shift that a text ends with: where it begins, and its days as `shift_days` has them."""
    tail = text[-_WINDOW:]
    found = _SHIFT_AT_END.search(tail)
    return (len(text) - len(tail) + found.start(), *shift_days(found)) if found else None


def shift_days(found: re.Match[str]) -> tuple[int, int]:
    """From which to before which day a match of `SHIFT` goes, the day of the event being 0.

    "The week before" is all of it; "two weeks before" is that day, a few to either side.
    """
    count, size = found["count"], UNIT_DAYS[found["unit"].lower()]
    before = found["way"].lower().startswith(("before", "prior"))
    if count is None or count.lower() in ("the", "last"):
        return (-size, 0) if before else (1, 1 + size)
    centre = number(count) * size * (-1 if before else 1)
    slack = tolerance(count, found["unit"])
    return centre - slack, centre + slack + 1


def number(word: str) -> int:
    """What a number stands for, in digits or in words; a few are three."""
    word = word.lower()
    vague = next((n for name, n in _VAGUE.items() if name in word), None)
    return vague or (int(word) if word.isdigit() else _NUMBERS[word])


def tolerance(count: str, unit: str) -> int:
    """By how many days "two weeks ago" may be off to either side; "a few weeks ago" by a week."""
    size = UNIT_DAYS[unit.lower()]
    return size if any(name in count.lower() for name in _VAGUE) else _SLACK[size]
