"""Which days a month, a season or a holiday has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

Days = tuple[date, date]
"""The first day, and the day after the last one."""
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""The month that each begins with, on the northern half of the earth; a winter counts to the year it begins in."""
UNIT_DAYS = {"day": 1, "week": 7, "weekend": 7, "fortnight": 14, "month": 30, "year": 365}
ORDINALS = {"first": 0, "1st": 0, "second": 7, "2nd": 7, "third": 14, "3rd": 14, "fourth": 21, "4th": 21}


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def month_number(name: str) -> int:
    """1 to 12, from a name or its first three letters."""
    return next(n for n, month in enumerate(MONTHS, 1) if month[:3] == name.lower()[:3])


def weekday_number(name: str) -> int:
    """0 for Monday, from a name or its first three letters."""
    return next(n for n, day in enumerate(WEEKDAYS) if day[:3] == name.lower()[:3])


def one_day(day: date) -> Days:
    return day, day + timedelta(days=1)


def month_days(year: int, month: int) -> Days:
    """A month; 13 is the next year's first. Raises `ValueError` beyond the calendar."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)


def season_days(year: int, season: str) -> Days:
    first = SEASONS[season.lower()]
    return month_days(year, first)[0], month_days(year, first + 3)[0]


def year_days(year: int) -> Days:
    return date(year, 1, 1), date(year + 1, 1, 1)


def part_of(days: Days, part: str | None) -> Days:
    """The days that "early", "mid", "late", "the end of" or "the second week of" leave of a month, season or year."""
    if not part:
        return days
    word, third = part.lower().split()[-2 if part.lower().endswith("of") else -1], (days[1] - days[0]) / 3
    if "week" in part.lower():
        return _week_of(days, part.lower().removeprefix("the ").split()[0])
    if word in ("early", "beginning", "start"):
        return days[0], days[0] + third
    if word in ("mid", "middle"):
        return days[0] + third, days[1] - third
    return days[1] - third, days[1]


def _week_of(days: Days, which: str) -> Days:
    if which == "last":
        return days[1] - timedelta(days=7), days[1]
    first = days[0] + timedelta(days=ORDINALS[which])
    return first, min(days[1], first + timedelta(days=7 if ORDINALS[which] < 21 else 10))


def _fixed(month: int, day: int, length: int = 1) -> Callable[[int], Days]:
    return lambda year: (date(year, month, day), date(year, month, day) + timedelta(days=length))


def _thanksgiving(year: int) -> Days:
    first = date(year, 11, 1)
    fourth_thursday = first + timedelta(days=(3 - first.weekday()) % 7 + 21)
    return fourth_thursday, fourth_thursday + timedelta(days=4)


HOLIDAYS: dict[str, Callable[[int], Days]] = {
    "christmas eve": _fixed(12, 24),
    "christmas day": _fixed(12, 25),
    "christmas": _fixed(12, 24, 3),
    "new year's eve": _fixed(12, 31),
    "new year's day": _fixed(1, 1),
    "new year's": _fixed(12, 31, 2),
    "valentine's day": _fixed(2, 14),
    "halloween": _fixed(10, 31),
    "thanksgiving": _thanksgiving,
}
