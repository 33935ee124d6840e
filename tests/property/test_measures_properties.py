"""What holds of the measures for any ranking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soma_core.domain.measures import MEASURES, compare, estimate

refs = st.integers(0, 40).map(str)
rankings = st.lists(refs, max_size=30, unique=True)
relevants = st.sets(refs, min_size=1, max_size=15)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(rankings, relevants)
def test_every_measure_lies_between_none_and_all(ranking: list[str], relevant: set[str]) -> None:
    for measure in MEASURES.values():
        assert 0 <= measure(ranking, relevant) <= 1 + 1e-12


@given(rankings, relevants)
def test_looking_deeper_never_finds_less(ranking: list[str], relevant: set[str]) -> None:
    for name in ("recall", "any", "all"):
        found = [MEASURES[f"{name}@{k}"](ranking, relevant) for k in (1, 5, 10, 20) if f"{name}@{k}" in MEASURES]
        assert found == sorted(found)


@given(rankings, relevants)
def test_all_is_at_most_recall_and_recall_at_most_any(ranking: list[str], relevant: set[str]) -> None:
    for k in (5, 10):
        least, share, most = (MEASURES[f"{name}@{k}"](ranking, relevant) for name in ("all", "recall", "any"))
        assert least <= share <= most
        assert (share == 0) == (most == 0)
        assert (share == 1) == (least == 1)


@given(rankings, relevants)
def test_putting_the_relevant_first_is_the_best_ranking(ranking: list[str], relevant: set[str]) -> None:
    best = [*sorted(relevant), *(ref for ref in ranking if ref not in relevant)]
    assert MEASURES["ndcg@10"](best, relevant) == pytest.approx(1)
    for measure in MEASURES.values():
        assert measure(ranking, relevant) <= measure(best, relevant) + 1e-12


@given(rankings, relevants, st.data())
def test_moving_a_relevant_one_up_never_costs(ranking: list[str], relevant: set[str], data: st.DataObject) -> None:
    places = [place for place, ref in enumerate(ranking) if ref in relevant and place]
    if not places:
        return
    place = data.draw(st.sampled_from(places))
    better = [*ranking[: place - 1], ranking[place], ranking[place - 1], *ranking[place + 1 :]]
    for measure in MEASURES.values():
        assert measure(better, relevant) >= measure(ranking, relevant) - 1e-12


@settings(max_examples=20, deadline=None)
@given(shares)
def test_an_interval_holds_its_mean_and_stays_between_the_extremes(values: list[float]) -> None:
    found = estimate(values)
    assert min(values) - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= max(values) + 1e-9


@settings(max_examples=20, deadline=None)
@given(shares)
def test_nothing_differs_from_itself_and_a_test_is_the_same_both_ways(values: list[float]) -> None:
    assert compare(values, values).change.value == 0
    assert compare(values, values).p == 1
    there, back = compare(values, values[::-1]), compare(values[::-1], values)
    assert there.change.value == pytest.approx(-back.change.value)
    assert there.p == pytest.approx(back.p)
