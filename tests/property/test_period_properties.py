"""What holds of periods and anchors in any text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from soma_core.domain.anchors import Anchor, anchors, resolve
from soma_core.domain.periods import periods

WORDS = [
    "the", "last", "next", "this", "in", "on", "since", "between", "from", "and", "to", "of", "a", "two", "999", "8",
    "31", "1900", "2023", "2023-02-29", "May", "may", "February", "Sep", "8th,", "early", "second week of", "end of",
    "summer", "winter", "Christmas", "thanksgiving", "week", "weekend", "years", "month", "ago", "before", "after",
    "prior to", "yesterday", "Tuesday", "my", "birthday", "?", ",", "\0", "\n", "\u2019s", "٣", "2\u066023",
]  # fmt: skip
texts = st.one_of(st.text(max_size=100), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
zones = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28), timezones=zones)


@given(texts, moments)
def test_any_text_at_any_time_has_periods_that_begin_before_they_end(text: str, now: datetime) -> None:
    found = periods(text, now)
    assert all(period.since < period.until for period in found)
    assert all(period.since.tzinfo is UTC and period.until.tzinfo is UTC for period in found)
    assert found == periods(text, now)
    assert len(found) == len(set(found))


@given(texts)
def test_any_text_has_anchors_of_words_that_it_holds(text: str) -> None:
    for anchor in anchors(text):
        assert anchor.first < anchor.after
        assert anchor.words
        assert all(word in text for word in anchor.words.split())


@given(
    st.integers(-40_000, 40_000),
    st.integers(1, 800),
    st.lists(st.tuples(moments, st.floats(0, 1)), max_size=5),
)
def test_an_anchor_resolves_to_its_days_or_to_nothing(
    first: int, length: int, candidates: list[tuple[datetime, float]]
) -> None:
    found = resolve(Anchor("x", first, first + length), candidates)
    assert found is None or found.until - found.since == timedelta(days=length)
