"""Dates and periods that an English text names: "last May", "on 8 May 2023", "two weeks ago".

A period is compared with a memory's `occurred_at`: when it happened or was said. A memory's text may name another date;
nothing here reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest

from soma_core.domain.days import midnight
from soma_core.domain.period_rules import JOIN, NEEDED, RULES, Reader
from soma_core.domain.shifts import shift_before


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to just before `until`, both UTC."""

    since: datetime
    until: datetime


Found = list[Period]


def periods(text: str, now: datetime) -> list[Period]:
    """The periods that `text` names, in its order; a month or day without a year once for each of the last ten.

    "Yesterday" and "last May" are relative to `now`, an aware time. What may be something else (the verb "may", a name,
    a bare number) is no period.
    """
    today = now.astimezone(UTC).date()
    return list(dict.fromkeys(_in_order(text, _spans(text, today), midnight(today))))


def period_starts(text: str) -> set[int]:
    """Where in `text` something stands that `periods` takes for one."""
    return {start for start, _ in _spans(text, date(2000, 1, 1))}


def _spans(text: str, today: date) -> dict[tuple[int, int], Found]:
    """From where to where a period is named, and which. What a rule took is no other rule's."""
    spans: dict[tuple[int, int], Found] = {}
    rest = text = text.replace("\u2019", "'")
    small = text.lower()
    if not NEEDED.search(small):
        return spans
    for rule in RULES:
        if not any(each in small for each in rule.needs):
            continue
        for match in rule.pattern.finditer(rest):
            found = _periods(rule.read, match, today)
            if found:
                start, shifted = _shifted(text, match.start(), found)
                spans[match.start(), match.end()] = [*shifted, *found]
                rest = rest[:start] + "\0" * (match.end() - start) + rest[match.end() :]
    return spans


def _periods(read: Reader, match: re.Match[str], today: date) -> Found:
    """What a rule makes of its match; no day that no calendar has."""
    try:
        return [Period(midnight(first), midnight(after)) for first, after in read(match, today)]
    except (ValueError, OverflowError):
        return []


def _shifted(text: str, start: int, found: Found) -> tuple[int, Found]:
    """Where "the week before" in front of a date begins, and what it makes of the date's periods."""
    shift = shift_before(text[:start])
    if not shift:
        return start, []
    begin, first, after = shift
    made: Found = []
    for period in found:
        base = period.since if first < 0 else period.until - timedelta(days=1)
        try:
            made.append(Period(base + timedelta(days=first), base + timedelta(days=after)))
        except OverflowError:
            continue
    return begin, made


def _in_order(text: str, spans: dict[tuple[int, int], Found], now: datetime) -> Iterator[Period]:
    """The periods in the order of the text; "from A to B" and "since A" as one each."""
    order = sorted(spans)
    for here, following in zip_longest(order, order[1:]):
        found, lead = spans[here], text[max(0, here[0] - 16) : here[0]]
        between = text[here[1] : following[0]] if following else ""
        if (
            following
            and re.search(r"\b(?:between|from)\s+(?:the\s+)?$", lead, re.IGNORECASE)
            and re.fullmatch(JOIN, between, re.IGNORECASE)
            and (ranges := _ranges(found, spans[following]))
        ):
            spans[following] = ranges
        elif re.search(r"\bsince\s+(?:the\s+)?$", lead, re.IGNORECASE) and found[0].since < now:
            yield Period(found[0].since, now + timedelta(days=1))
        else:
            yield from found


def _ranges(first: Found, last: Found) -> Found:
    """Each of `last` with the nearest of `first` before it, as one."""
    made: Found = []
    for end in last:
        begun = [begin.since for begin in first if begin.since < end.until]
        if begun:
            made.append(Period(max(begun), end.until))
    return made
