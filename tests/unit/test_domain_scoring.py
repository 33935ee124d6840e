"""Scores."""

from __future__ import annotations

from uuid import UUID

import pytest

from soma_core.domain.scoring import leading, settled, spread

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def test_a_memory_scores_as_its_best_passage() -> None:
    assert leading([(A, 3.0), (A, 2.0), (A, 1.0), (B, -2.0)], 2) == {A: 3.0, B: -2.0}


def test_the_leading_ones_of_an_arm_are_so_many_and_those_that_score_like_the_last() -> None:
    matches = [(A, 3.0), (B, 2.0), (A, 2.0), (C, 2.0), (D, 1.0)]
    assert list(leading(matches, 1)) == [A]
    assert list(leading(matches, 2)) == list(leading(matches, 3)) == [A, B, C]
    assert list(leading(matches, 4)) == list(leading(matches, 9)) == [A, B, C, D]
    assert leading([], 4) == {}


def test_an_arm_is_spread_from_nought_to_three() -> None:
    assert spread({A: 0.2, B: 0.4, C: 0.6}) == pytest.approx({A: 0.0, B: 1.5, C: 3.0})
    assert spread({A: 0.4, B: 0.4}) == {A: 3.0, B: 3.0}
    assert spread({}) == {}


def test_of_equal_scores_at_the_place_where_a_list_was_cut_off_none_is_kept() -> None:
    assert settled({A: 3.0, B: 2.0, C: 1.0}, 1.0) == {A: 3.0, B: 2.0}
    assert settled({A: 3.0, B: 2.0, C: 1.0}, 0.5) == {A: 3.0, B: 2.0, C: 1.0}
    assert settled({A: 3.0, B: 1.0, C: 1.0}, 1.0) == {A: 3.0, B: 1.0, C: 1.0}
    assert settled({}, 1.0) == {}
