"""What the words for dates and periods look like, and which days they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from soma_core.domain.days import (
    HOLIDAYS,
    MONTHS,
    SEASONS,
    UNIT_DAYS,
    WEEKDAYS,
    Days,
    month_days,
    month_number,
    one_day,
    part_of,
    season_days,
    weekday_number,
    year_days,
)
from soma_core.domain.shifts import NUMBER, number, tolerance

YEARS = 10
"""A month, a day or a holiday without a year is meant of each of so many years, the present one and those before."""
_YEAR = r"(?P<year>(?:19|20)\d\d)(?![\d%]|[.,]\d)"
_OF_YEAR = rf"(?:,?\s*(?:of\s+)?{_YEAR}|,?\s+(?:of\s+)?(?P<rel>last|this|next)\s+year\b)?"
_SHORT = "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
_MONTH = rf"(?P<month>{'|'.join(MONTHS)})\b"
_ANY_MONTH = rf"(?P<month>{'|'.join(MONTHS)}|(?:{_SHORT})\b\.?)"
_DAY = r"(?P<day>\d{1,2})(?P<nth>st|nd|rd|th)?"
_WEEK_OF = r"(?:first|second|third|fourth|last|1st|2nd|3rd|4th)\s+week\s+of"
_PART = rf"(?:(?P<part>early|mid|late|(?:the\s+)?(?:(?:beginning|start|middle|end)\s+of|{_WEEK_OF}))[\s-]+(?:the\s+)?)?"
_WHICH = {"last": "last", "past": "last", "previous": "last", "this": "this", "next": "next", "coming": "next"}
_WITHIN = {"in", "during", "over", "since", "until", "till", "by", "throughout", "through", *_WHICH}
_AROUND = {*_WITHIN, "on", "at", "for", "around", "before", "after", "to", "between", "from", "and", "of"}
JOIN = r"\s*(?:\b(?:and|to|until|till|through)\b|-|\u2013)\s*(?:the\s+)?"
_VERBS = {"may", "march"}
_PLURAL = r"(?!\s+(?!(?:was|is|has|does|this|as|his|its|us)\b)[a-z]+s\b)"
"""What follows a year, but not a number of things ("in 2000 words")."""
Reader = Callable[[re.Match[str], date], Iterator[Days]]
"""The days that a match means, today being given. Raises `ValueError` or `OverflowError` for those of no calendar."""


def _lead(match: re.Match[str]) -> str:
    """The word before a match, an article left out."""
    found = re.search(
        r"([a-z]+)\s+(?:the\s+)?$", match.string[max(0, match.start() - 24) : match.start()], re.IGNORECASE
    )
    return found[1].lower() if found else ""


def _at_end(match: re.Match[str]) -> bool:
    return re.match(r"\s*(?:[?.!,;:)]|$)", match.string[match.end() :]) is not None


def _of_years(match: re.Match[str], today: date, days: Callable[[int], Days]) -> Iterator[Days]:
    """What comes once a year, in the year that is named; else the one that "last" or "this" picks; else all."""
    named = match.groupdict()
    if named.get("year"):
        return iter([days(int(named["year"]))])
    if named.get("rel"):
        return iter([days(today.year + {"last": -1, "this": 0, "next": 1}[named["rel"].lower()])])
    near = list(_near(days, today.year))
    which = _WHICH.get(_lead(match))
    if which == "last":
        return iter([each for each in near if each[1] <= today][:1])
    if which == "next":
        return iter([each for each in near if each[0] > today][-1:])
    if which == "this":
        present = [each for each in near if each[0] <= today < each[1]]
        return iter([*present, *[each for each in near if each[0].year == today.year]][:1])
    return iter([each for each in near if each[0].year <= today.year])


def _near(days: Callable[[int], Days], present: int) -> Iterator[Days]:
    """What comes once a year, of the years around the present one, the latest first; 29 February only where it is."""
    for year in range(present + 1, present - YEARS, -1):
        try:
            yield days(year)
        except (ValueError, OverflowError):
            continue


def _iso(match: re.Match[str], today: date) -> Iterator[Days]:
    yield one_day(date(int(match["year"]), int(match["number"]), int(match["day"])))


def _day(match: re.Match[str], today: date) -> Iterator[Days]:
    """A day of a month; without a year only where nothing else can be meant."""
    named = bool(match["year"] or match["rel"])
    plain = bool(match["nth"]) or _lead(match) in _AROUND or _at_end(match)
    if not named and not (plain and (match["month"][0].isupper() or match["month"].lower() not in _VERBS)):
        return iter(())
    return _of_years(match, today, lambda year: one_day(date(year, month_number(match["month"]), int(match["day"]))))


def _month(match: re.Match[str], today: date) -> Iterator[Days]:
    if not (match["year"] or match["rel"]) and not _is_month(match):
        return iter(())
    return _of_years(match, today, lambda year: part_of(month_days(year, month_number(match["month"])), match["part"]))


def _is_month(match: re.Match[str]) -> bool:
    """Whether a month without a year is one: after "in", "last" and the like, and no verb."""
    if match["part"]:
        return True
    lead = _lead(match)
    if lead in ("between", "from"):
        return re.match(JOIN, match.string[match.end() :], re.IGNORECASE) is not None
    if lead not in _WITHIN:
        return False
    verb = match["month"] in _VERBS
    return not verb or lead in ("in", "during", "since", "throughout") or (lead in _WHICH and _at_end(match))


def _season(match: re.Match[str], today: date) -> Iterator[Days]:
    if not (match["year"] or match["rel"] or match["part"] or _lead(match) in {*_WITHIN, "for"}):
        return iter(())
    return _of_years(match, today, lambda year: part_of(season_days(year, match["season"]), match["part"]))


def _holiday(match: re.Match[str], today: date) -> Iterator[Days]:
    if not (match["year"] or match["rel"] or _lead(match) in _AROUND):
        return iter(())
    return _of_years(match, today, HOLIDAYS[re.sub(r"\s+", " ", match["holiday"].lower())])


def _year(match: re.Match[str], today: date) -> Iterator[Days]:
    if match["part"] or _lead(match) in {
        "in",
        "during",
        "since",
        "throughout",
        "by",
        "until",
        "of",
        "from",
        "to",
        "and",
    }:
        yield part_of(year_days(int(match["year"])), match["part"])


def _ago(match: re.Match[str], today: date) -> Iterator[Days]:
    if match["unit"].lower().startswith(("hour", "minute")):
        yield one_day(today)
        return
    day = today - timedelta(days=number(match["count"]) * UNIT_DAYS[match["unit"].lower()])
    slack = timedelta(days=tolerance(match["count"], match["unit"]))
    yield day - slack, day + slack + timedelta(days=1)


def _past(match: re.Match[str], today: date) -> Iterator[Days]:
    """The last so many days, today too."""
    count = number(match["count"]) if match["count"] else 1
    yield today - timedelta(days=count * UNIT_DAYS[match["unit"].lower()]), today + timedelta(days=1)


def _unit(match: re.Match[str], today: date) -> Iterator[Days]:
    """The last, this or the next week, weekend, month or year of the calendar."""
    step = {"last": -1, "this": 0, "next": 1}[_WHICH.get(match["which"].lower(), "this")]
    unit, monday = match["unit"].lower(), today - timedelta(days=today.weekday())
    if unit == "week":
        yield monday + timedelta(days=7 * step), monday + timedelta(days=7 * step + 7)
    elif unit == "month":
        yield month_days(today.year, today.month + step)
    elif unit == "year":
        yield year_days(today.year + step)
    else:
        since = 7 * step if step or today.weekday() > 4 or match["which"].lower() == "this" else -7
        yield monday + timedelta(days=since + 5), monday + timedelta(days=since + 7)


def _weekday(match: re.Match[str], today: date) -> Iterator[Days]:
    """The last one, the next one, this week's, or with "on" the last one or today."""
    which, wanted = _WHICH.get(match["which"].lower()), weekday_number(match["weekday"])
    back = (today.weekday() - wanted) % 7
    if which == "this":
        day = today + timedelta(days=wanted - today.weekday())
    elif which == "next":
        day = today + timedelta(days=7 - back)
    else:
        day = today - timedelta(days=back or (7 if which == "last" else 0))
    yield one_day(day)


_DAY_WORDS: dict[str, tuple[int, int]] = {
    "the day before yesterday": (-2, -1), "the day after tomorrow": (2, 3), "yesterday": (-1, 0), "tomorrow": (1, 2),
    "last night": (-1, 1), "today": (0, 1), "tonight": (0, 1), "this morning": (0, 1), "this afternoon": (0, 1),
    "this evening": (0, 1),
}  # fmt: skip


def _day_word(match: re.Match[str], today: date) -> Iterator[Days]:
    first, after = _DAY_WORDS[re.sub(r"\s+", " ", match.group().lower())]
    yield today + timedelta(days=first), today + timedelta(days=after)


class Rule(NamedTuple):
    """What a period looks like, and what it means."""

    pattern: re.Pattern[str]
    read: Reader
    needs: Sequence[str]
    """In small letters: a text without any of them cannot match. Most questions name no time, and looking is quick."""


def _rule(pattern: str, read: Reader, needs: Iterable[str] = "0123456789") -> Rule:
    return Rule(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), read, tuple(needs))


_HOLIDAY = "|".join(HOLIDAYS)
_UNITS = ("week", "month", "year")
RULES = (
    _rule(r"(?<![\d.-])(?P<year>(?:19|20)\d\d)([-/])(?P<number>\d\d?)\2(?P<day>\d\d?)(?![\d-])", _iso),
    _rule(rf"(?<![\w.,:-]){_DAY}\s+(?:of\s+)?{_ANY_MONTH}(?![\w']){_OF_YEAR}", _day),
    _rule(rf"\b{_ANY_MONTH}\s+(?:the\s+)?{_DAY}(?![\w%:]|[.,]\d(?!\d{{3}})){_OF_YEAR}", _day),
    _rule(rf"\b{_PART}{_MONTH}(?!'){_OF_YEAR}", _month, MONTHS),
    _rule(rf"\b{_PART}(?P<season>{'|'.join(SEASONS)})\b(?!'){_OF_YEAR}", _season, SEASONS),
    _rule(rf"\b(?P<holiday>{_HOLIDAY})\b{_OF_YEAR}", _holiday, {name.split()[0] for name in HOLIDAYS}),
    _rule(rf"(?<![\d.,-])\b{_PART}{_YEAR}(?![-\u2013]\d|\s*(?:am|pm)\b){_PLURAL}", _year),
    _rule(rf"\b(?P<count>{NUMBER}) (?P<unit>minute|hour|day|weekend|week|fortnight|month|year)s? ago\b", _ago, ["ago"]),
    _rule(
        rf"\b(?:last|past|previous) (?P<count>{NUMBER}) (?P<unit>day|week|month|year)s\b",
        _past,
        ["last", "past", "previous"],
    ),
    _rule(r"\bpast (?P<count>)(?P<unit>week|month|year)\b", _past, ["past"]),
    _rule(
        r"\b(?P<which>last|previous|this|next|coming|current) (?P<unit>week|weekend|month|year)\b(?!'s)", _unit, _UNITS
    ),
    _rule(r"\b(?P<which>over|on|at|during) the (?P<unit>weekend)\b(?! (?:of|before|after)\b)", _unit, ["weekend"]),
    _rule(
        rf"\b(?P<which>last|past|previous|this|next|coming|on) (?P<weekday>{'|'.join(WEEKDAYS)})\b", _weekday, WEEKDAYS
    ),
    _rule(rf"\b(?:{'|'.join(_DAY_WORDS)})\b", _day_word, {name.split()[-1] for name in _DAY_WORDS}),
)
NEEDED = re.compile("|".join(sorted({re.escape(each) for rule in RULES for each in rule.needs})))
"""What any rule needs, in small letters."""
