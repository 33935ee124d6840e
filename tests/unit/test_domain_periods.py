"""Dates and periods in a question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from soma_core.domain.anchors import ENOUGH, Anchor, anchors, resolve
from soma_core.domain.period_rules import YEARS
from soma_core.domain.periods import Period, periods

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
"""A Saturday."""


def named(text: str, now: datetime = NOW) -> list[str]:
    """The periods as first and last day."""
    last = timedelta(days=1)
    return [f"{found.since:%Y-%m-%d} {found.until - last:%Y-%m-%d}" for found in periods(text, now)]


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("What did I buy on 8 May 2023?", "2023-05-08 2023-05-08"),
        ("on the 8th of May, 2023", "2023-05-08 2023-05-08"),
        ("May 8th, 2023", "2023-05-08 2023-05-08"),
        ("on december 1,2023", "2023-12-01 2023-12-01"),
        ("Aug 3 2023", "2023-08-03 2023-08-03"),
        ("3 Sept. 2023", "2023-09-03 2023-09-03"),
        ("2023-05-08", "2023-05-08 2023-05-08"),
        ("on 2023/5/8", "2023-05-08 2023-05-08"),
        ("29 February 2024", "2024-02-29 2024-02-29"),
        ("in June 2023", "2023-06-01 2023-06-30"),
        ("What inspired June's script in December of 2022?", "2022-12-01 2022-12-31"),
        ("in early March 2023", "2023-03-01 2023-03-10"),
        ("mid-June 2023", "2023-06-11 2023-06-20"),
        ("at the end of February 2023", "2023-02-20 2023-02-28"),
        ("in the second week of November 2023", "2023-11-08 2023-11-14"),
        ("the last week of may 2023", "2023-05-25 2023-05-31"),
        ("in 2022", "2022-01-01 2022-12-31"),
        ("In 2022 we moved", "2022-01-01 2022-12-31"),
        ("in early 2022", "2022-01-01 2022-05-01"),
        ("summer 2021", "2021-06-01 2021-08-31"),
        ("in the winter of 2021", "2021-12-01 2022-02-28"),
        ("at Thanksgiving 2023", "2023-11-23 2023-11-26"),
        ("New Year\u2019s Eve 2024", "2024-12-31 2024-12-31"),
        ("last May", "2025-05-01 2025-05-31"),
        ("What did I plant last may?", "2025-05-01 2025-05-31"),
        ("last january", "2026-01-01 2026-01-31"),
        ("this March", "2026-03-01 2026-03-31"),
        ("next April", "2026-04-01 2026-04-30"),
        ("in May last year", "2025-05-01 2025-05-31"),
        ("this summer", "2026-06-01 2026-08-31"),
        ("last summer", "2025-06-01 2025-08-31"),
        ("this winter", "2026-12-01 2027-02-28"),
        ("last Christmas", "2025-12-24 2025-12-26"),
        ("next christmas", "2026-12-24 2026-12-26"),
        ("today", "2026-03-14 2026-03-14"),
        ("yesterday", "2026-03-13 2026-03-13"),
        ("the day before yesterday", "2026-03-12 2026-03-12"),
        ("last night", "2026-03-13 2026-03-14"),
        ("last week", "2026-03-02 2026-03-08"),
        ("this week", "2026-03-09 2026-03-15"),
        ("last month", "2026-02-01 2026-02-28"),
        ("next month", "2026-04-01 2026-04-30"),
        ("last year", "2025-01-01 2025-12-31"),
        ("in the past week", "2026-03-07 2026-03-14"),
        ("over the last three days", "2026-03-11 2026-03-14"),
        ("two weeks ago", "2026-02-25 2026-03-03"),
        ("10 days ago", "2026-03-04 2026-03-04"),
        ("a couple of days ago", "2026-03-11 2026-03-13"),
        ("a year ago", "2025-01-13 2025-05-13"),
        ("3 hours ago", "2026-03-14 2026-03-14"),
        ("over the weekend", "2026-03-14 2026-03-15"),
        ("last weekend", "2026-03-07 2026-03-08"),
        ("last Tuesday", "2026-03-10 2026-03-10"),
        ("last saturday", "2026-03-07 2026-03-07"),
        ("on Saturday", "2026-03-14 2026-03-14"),
        ("next Monday", "2026-03-16 2026-03-16"),
        ("between August 11 and August 15 2023", "2023-08-11 2023-08-15"),
        ("from June to August 2023", "2023-06-01 2023-08-31"),
        ("since March 2023", "2023-03-01 2026-03-14"),
    ],
)
def test_a_text_names_a_period(text: str, period: str) -> None:
    assert named(text) == [period]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "May I ask what Ana may have said?",
        "You may march in front, the march was long",
        "What did April say to June and August?",
        "What is April's favourite song?",
        "They march 10 miles",
        "At most 8 may fail",
        "the last may fail",
        "last march we walked in a march",
        "in 2000 words",
        "in 2022.5 or 2,022 or 20221 or version 2022",
        "2023 people",
        "2023-13-45",
        "12 of them sat in the sun for 5 seconds",
        "Do not fall, spring into action",
        "the Mondays of the weekdays",
        "a week, a month and a year",
        "Will he ever say 99 August 12345?",
        "1/2/3",
        "a may-fly",
    ],
)
def test_what_may_be_something_else_is_no_period(text: str) -> None:
    assert named(text) == []


def test_what_comes_every_year_is_meant_of_the_last_ten_years() -> None:
    assert named("in June") == [f"{year}-06-01 {year}-06-30" for year in range(2026, 2026 - YEARS, -1)]
    assert named("on Christmas")[:2] == ["2026-12-24 2026-12-26", "2025-12-24 2025-12-26"]
    assert named("on May 8th")[1] == "2025-05-08 2025-05-08"
    assert named("on 29 February") == [f"{year}-02-29 {year}-02-29" for year in (2024, 2020)]


def test_a_day_that_no_month_has_is_taken_for_its_month() -> None:
    assert named("on 31 February 2023") == ["2023-02-01 2023-02-28"]


def test_periods_stand_in_the_order_of_the_text_and_once() -> None:
    found = named("Was it in 2022, or yesterday? In 2022!")
    assert found == ["2022-01-01 2022-12-31", "2026-03-13 2026-03-13"]


def test_a_date_with_a_distance_names_both_days() -> None:
    assert named("the week before August 3, 2023") == ["2023-07-27 2023-08-02", "2023-08-03 2023-08-03"]
    assert named("two days after 3 August 2023") == ["2023-08-05 2023-08-05", "2023-08-03 2023-08-03"]
    assert named("the month after June 2023") == ["2023-07-01 2023-07-30", "2023-06-01 2023-06-30"]


def test_today_is_the_callers_today_in_utc() -> None:
    late = datetime(2026, 3, 14, 23, tzinfo=timezone(timedelta(hours=-5)))
    assert named("yesterday", late) == ["2026-03-14 2026-03-14"]
    assert named("last winter", datetime(2026, 1, 5, tzinfo=UTC)) == ["2024-12-01 2025-02-28"]
    assert named("this winter", datetime(2026, 1, 5, tzinfo=UTC)) == ["2025-12-01 2026-02-28"]


@pytest.mark.parametrize(
    ("text", "anchor"),
    [
        ("What did I buy the week before my birthday?", Anchor("birthday", -7, 0)),
        ("Who called two days after the wedding, and why?", Anchor("wedding", 2, 3)),
        ("the month after we moved to Berlin", Anchor("moved Berlin", 1, 31)),
        ("a week prior to Ana's exam", Anchor("Ana's exam", -10, -3)),
        ("a few days following the accident", Anchor("accident", 2, 5)),
        ("a fortnight after I broke my leg", Anchor("broke leg", 11, 18)),
        ("the weekend of the wedding", Anchor("wedding", -3, 4)),
        ("the day of my graduation", Anchor("graduation", 0, 1)),
    ],
)
def test_an_event_is_reckoned_from(text: str, anchor: Anchor) -> None:
    assert anchors(text) == [anchor]


@pytest.mark.parametrize(
    "text",
    [
        "", "after lunch", "the day of the week", "the week before 3 August 2023", "the week before Christmas",
        "the day before yesterday", "a week before", "the day after that", "the week before, I was ill",
    ],
)  # fmt: skip
def test_what_names_no_event_is_no_anchor(text: str) -> None:
    assert anchors(text) == []


def test_an_anchor_has_a_direction() -> None:
    assert [Anchor("x", *days).direction for days in ((-7, 0), (1, 8), (-3, 4))] == ["before", "after", "at"]


def test_the_memory_with_most_of_the_words_tells_when_the_event_was() -> None:
    anchor = Anchor("birthday party", -7, 0)
    birthday = datetime(2023, 5, 8, 21, 30, tzinfo=UTC)
    found = resolve(anchor, [(NOW, 0.5), (birthday, 1.0), (NOW, 1.0)])
    assert found == Period(datetime(2023, 5, 1, tzinfo=UTC), datetime(2023, 5, 8, tzinfo=UTC))


def test_an_event_that_no_memory_tells_of_has_no_period() -> None:
    assert resolve(Anchor("birthday", -7, 0), []) is None
    assert resolve(Anchor("birthday", -7, 0), [(NOW, ENOUGH - 0.01)]) is None
    assert resolve(Anchor("birthday", -7, 0), [(NOW, float("nan"))]) is None
    assert resolve(Anchor("birthday", -7, 0), [(datetime(1, 1, 2, tzinfo=UTC), 1.0)]) is None
