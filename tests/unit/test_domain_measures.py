"""The measures against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from soma_core.domain.measures import MEASURES, compare, estimate, percentile

RANKING = ["a", "x", "b", "y", "z", "c", *"123456", "d"]
"""Relevant are a, b, c, d: ranks 1, 3, 6 and 13."""
RELEVANT = {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("recall@1", 1 / 4),
        ("recall@5", 2 / 4),
        ("recall@10", 3 / 4),
        ("recall@20", 4 / 4),
        ("any@5", 1),
        ("any@10", 1),
        ("all@5", 0),
        ("all@10", 0),
        ("ndcg@10", (1 + 0.5 + 1 / math.log2(7)) / (1 + 1 / math.log2(3) + 0.5 + 1 / math.log2(5))),
        ("mrr@10", 1),
    ],
)
def test_a_measure_gives_what_is_worked_out_by_hand(measure: str, expected: float) -> None:
    assert MEASURES[measure](RANKING, RELEVANT) == pytest.approx(expected)


def test_the_first_relevant_at_rank_three_has_a_reciprocal_rank_of_a_third() -> None:
    assert MEASURES["mrr@10"](["x", "y", "b", "a"], RELEVANT) == pytest.approx(1 / 3)


def test_what_stands_beyond_the_depth_does_not_count() -> None:
    ranking = [*"1234567890", "a"]
    assert MEASURES["mrr@10"](ranking, RELEVANT) == MEASURES["ndcg@10"](ranking, RELEVANT) == 0
    assert MEASURES["any@10"](ranking, RELEVANT) == MEASURES["recall@10"](ranking, RELEVANT) == 0
    assert MEASURES["recall@20"](ranking, RELEVANT) == 1 / 4


def test_all_is_one_only_when_the_last_relevant_is_in() -> None:
    assert MEASURES["all@5"](["a", "b", "c", "x", "d"], RELEVANT) == 1
    assert MEASURES["all@5"](["a", "b", "c", "x", "y", "d"], RELEVANT) == 0


def test_a_perfect_ranking_of_more_than_ten_relevant_has_a_full_ndcg_at_ten() -> None:
    refs = [str(n) for n in range(15)]
    assert MEASURES["ndcg@10"](refs, refs) == pytest.approx(1)
    assert MEASURES["recall@10"](refs, refs) == pytest.approx(10 / 15)


def test_a_percentile_is_the_value_that_so_many_do_not_exceed() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert percentile([7], 0.01) == 7
    assert percentile([], 0.5) == 0


def test_the_interval_of_a_share_is_about_two_standard_errors_wide_and_the_same_each_time() -> None:
    values = [1.0] * 300 + [0.0] * 100
    found = estimate(values)
    error = math.sqrt(0.75 * 0.25 / 400)

    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - 1.96 * error, abs=0.01)
    assert found.high == pytest.approx(0.75 + 1.96 * error, abs=0.01)
    assert estimate(values) == found


def test_a_mean_over_groups_weighs_every_group_alike() -> None:
    assert estimate([1.0] * 99, [0.0]).value == 0.5
    assert estimate([1.0] * 99 + [0.0]).value == 0.99


def test_a_paired_test_tells_a_steady_gain_from_chance() -> None:
    before = [0.0, 1.0] * 50
    gained = [1.0 if n % 10 == 0 else value for n, value in enumerate(before)]
    shuffled = [1.0, 0.0] * 50

    steady = compare(before, gained)
    assert steady.change.value == pytest.approx(0.1)
    assert steady.change.low > 0
    assert steady.p == pytest.approx(2 / 2**10, abs=0.002)

    chance = compare(before, shuffled)
    assert chance.change.value == 0
    assert chance.change.low < 0 < chance.change.high
    assert chance.p > 0.9


def test_one_better_answer_among_many_proves_nothing() -> None:
    assert compare([0.0] * 50, [1.0] + [0.0] * 49).p == 1
